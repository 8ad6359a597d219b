//! The demo model: no model at all, but rules.
//!
//! It reads the whole transcript that it is sent and remembers nothing else, so the same prompt
//! always has the same answer. What it knows of banking it has from the demo agent. Messages may
//! script the answer by [phrases]; otherwise it calls a tool that fits, tells what tools
//! said, acknowledges pictures and documents, and answers in the shape that it is asked for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::emulator::demo_agent::{self, Memory};

use super::answer::{Answer, Said, Stop, Usage};
use super::cards::Card;
use super::phrases::{self, Wish};
use super::prompt::{Message, Prompt, Role};
use super::schema::{self, Seed};
use super::senses;
use super::terms::{Structure, ToolChoice, ToolSpec};
use super::thinking::{self, Thinking};
use super::tokens::{self, Charged, Measured};
use super::{calling, guardrail};

/// What is quoted of a message in a thought, in characters.
const QUOTED: usize = 80;
/// Letters of an id, after its prefix.
const ID_LETTERS: usize = 20;

/// What is asked of the model.
#[derive(Debug)]
pub(in crate::emulator) struct Ask<'a> {
    /// Which it is.
    pub(in crate::emulator) card: &'a Card,
    /// What it is sent.
    pub(in crate::emulator) prompt: &'a Prompt,
    /// Whether it is to think first.
    pub(in crate::emulator) thinking: Thinking,
    /// Whether the text has to be a JSON object, of no particular shape.
    pub(in crate::emulator) wants_object: bool,
}

/// Answers a prompt that has been checked.
pub(in crate::emulator) fn answer(ask: &Ask<'_>, measured: &Measured, prompt: Charged) -> Answer {
    let id = identifier(&measured.digest, 0);
    let usage = Usage { prompt, ..Usage::default() };
    if let Some((blocks, trace)) = guardrail::judge_input(ask.prompt) {
        let stop = Stop::Guardrail;
        return Answer { id, blocks, stop, stop_sequence: None, usage, guardrail: trace };
    }
    let mut draft = Draft::new(ask, measured.digest);
    draft.compose();
    let mut blocks = draft.blocks;
    let calls = blocks.iter().any(|block| matches!(block, Said::Call { .. }));
    let said = if calls { Stop::ToolUse } else { Stop::EndTurn };
    let mut stop = draft.stop.unwrap_or(said);
    let mut guardrail = None;
    if let Some((blocked, trace)) = guardrail::judge_output(ask.prompt, &blocks) {
        (blocks, guardrail, stop) = (blocked, trace, Stop::Guardrail);
    }
    let stop_sequence = cut_at_stops(&mut blocks, &ask.prompt.inference_config.stop_sequences);
    stop = if stop_sequence.is_some() { Stop::Sequence } else { stop };
    let asked = ask.prompt.inference_config.max_tokens.map_or(u64::MAX, i64::unsigned_abs);
    let (most, why) = match ask.card.context.saturating_sub(measured.total) {
        window if window < asked.min(ask.card.max_output) => (window, Stop::Window),
        _ => (asked.min(ask.card.max_output), Stop::MaxTokens),
    };
    let is_cut = shorten(&mut blocks, most);
    let stop_sequence = stop_sequence.filter(|_| !is_cut);
    let count = |blocks: &mut dyn Iterator<Item = &Said>| {
        blocks.map(|block| tokens::count(block.words())).sum()
    };
    let is_thought = |block: &&Said| matches!(block, Said::Thought { .. } | Said::Hidden(_));
    let usage = Usage {
        output: count(&mut blocks.iter()),
        thoughts: count(&mut blocks.iter().filter(is_thought)),
        ..usage
    };
    Answer { id, blocks, stop: if is_cut { why } else { stop }, stop_sequence, usage, guardrail }
}

/// Ends the answer before the first stop sequence, which is returned.
fn cut_at_stops(blocks: &mut Vec<Said>, stops: &[String]) -> Option<String> {
    for place in 0..blocks.len() {
        let Some(text) = blocks[place].visible() else { continue };
        let found = stops.iter().filter_map(|stop| text.find(stop.as_str()).map(|at| (at, stop)));
        let Some((at, stop)) = found.min_by_key(|(at, _)| *at) else { continue };
        text.truncate(at);
        blocks.truncate(place + usize::from(at > 0));
        return Some(stop.clone());
    }
    None
}

/// Cuts an answer down to so many tokens; false when it has no more.
fn shorten(blocks: &mut Vec<Said>, most: u64) -> bool {
    let mut left = usize::try_from(most).unwrap_or(usize::MAX);
    for place in 0..blocks.len() {
        let count = tokens::tokens(blocks[place].words()).count();
        if count > left {
            blocks[place].shorten(left);
            blocks.truncate(place + usize::from(left > 0));
            return true;
        }
        left -= count;
    }
    false
}

/// An id that no other prompt has.
fn identifier(digest: &[u8; 32], number: u32) -> String {
    let hash = Sha256::new().chain_update(digest).chain_update(number.to_be_bytes()).finalize();
    let letters = URL_SAFE_NO_PAD.encode(hash).replace(['-', '_'], "0");
    letters[..ID_LETTERS].to_owned()
}

/// An answer in the making.
struct Draft<'a> {
    ask: &'a Ask<'a>,
    digest: [u8; 32],
    /// What the caller said last, without settings of the emulator.
    words: String,
    blocks: Vec<Said>,
    stop: Option<Stop>,
}

impl<'a> Draft<'a> {
    fn new(ask: &'a Ask<'a>, digest: [u8; 32]) -> Self {
        let (_, words) = phrases::settings(&ask.prompt.last_words());
        Self { ask, digest, words, blocks: Vec::new(), stop: None }
    }

    fn compose(&mut self) {
        let wishes = self.wishes();
        self.think(wishes.as_deref().unwrap_or_default());
        if let Some(wishes) = wishes {
            self.follow(wishes);
        } else if !self.call_tools() {
            let text = self.spoken();
            self.say(text);
            self.blocks.extend(senses::citation(self.ask.prompt));
        }
        self.force_call();
        if self.calls_one_at_a_time() {
            let mut calls = 0;
            self.blocks.retain(|block| {
                calls += usize::from(matches!(block, Said::Call { .. }));
                calls <= 1 || !matches!(block, Said::Call { .. })
            });
        }
    }

    fn messages(&self) -> &'a [Message] {
        &self.ask.prompt.messages
    }

    /// What the last message scripts for this point of the transcript. Past its last stage it is
    /// as if it had said nothing.
    fn wishes(&self) -> Option<Vec<Wish>> {
        let mut stages = phrases::stages(&self.words)?;
        let is_spoken =
            |message: &Message| message.role == Role::User && !message.text().is_empty();
        let since = self.messages().iter().rposition(is_spoken)?;
        let answers =
            self.messages()[since..].iter().filter(|message| message.calls().next().is_some());
        let stage = answers.count();
        Some(if stage < stages.len() { stages.swap_remove(stage) } else { Vec::new() })
    }

    fn think(&mut self, wishes: &[Wish]) {
        if self.ask.thinking == Thinking::Off {
            return;
        }
        let scripted = wishes.iter().find_map(|wish| match wish {
            Wish::Think(text) => Some(text.clone()),
            _ => None,
        });
        let hidden = wishes.iter().find_map(|wish| match wish {
            Wish::Hide(text) => Some(Said::Hidden(thinking::hidden(text))),
            _ => None,
        });
        let quoted: String = self.words.chars().take(QUOTED).collect();
        let text = scripted.unwrap_or_else(|| {
            format!("The caller says \"{quoted}\". I look at what I know and answer that.")
        });
        let is_sealed = self.ask.card.is_of("anthropic");
        let signature = is_sealed.then(|| thinking::signature(&text));
        self.blocks.push(hidden.unwrap_or(Said::Thought { text, signature }));
    }

    fn follow(&mut self, wishes: Vec<Wish>) {
        let calls = wishes.iter().any(|wish| matches!(wish, Wish::Call(..)));
        if !calls && let Some(told) = self.results() {
            // Past the end of a script nothing else is to be said, so that it can have a shape.
            let shaped = if wishes.is_empty() { self.shaped(&told) } else { None };
            self.say(shaped.unwrap_or(told));
        }
        for wish in wishes {
            match wish {
                Wish::Say(text) => self.say(text),
                Wish::Words(count) => self.say(senses::filler(count)),
                Wish::Call(name, arguments) => self.call(&name, arguments),
                Wish::Cite(url, text) => self.blocks.push(senses::web_citation(&url, text)),
                Wish::Stop(stop) => self.stop = Some(stop),
                Wish::Think(_) | Wish::Hide(_) => {}
            }
        }
    }

    fn say(&mut self, text: String) {
        match self.blocks.last_mut() {
            _ if text.is_empty() => {}
            Some(Said::Text(before)) => {
                before.push(' ');
                before.push_str(&text);
            }
            _ => self.blocks.push(Said::Text(text)),
        }
    }

    fn tools(&self) -> Vec<&'a ToolSpec> {
        match self.ask.prompt.tool_choice() {
            Some(ToolChoice::None) => Vec::new(),
            _ => self.ask.prompt.tools().collect(),
        }
    }

    fn call(&mut self, name: &str, arguments: Map<String, Value>) {
        if !self.tools().iter().any(|tool| tool.name == name) {
            self.say(format!("I have no tool named {name}."));
            return;
        }
        let count = self.blocks.iter().filter(|block| matches!(block, Said::Call { .. })).count();
        let hash = identifier(&self.digest, u32::try_from(count).unwrap_or(u32::MAX) + 1);
        let thought = matches!(self.blocks.first(), Some(Said::Thought { .. } | Said::Hidden(_)));
        let mark = if thought { thinking::THOUGHT_OF } else { 'n' };
        let input = Value::Object(arguments).to_string();
        self.blocks.push(Said::Call {
            id: format!("{}{mark}{hash}", thinking::CALLS[0]),
            name: name.to_owned(),
            input,
        });
    }

    /// Calls the tools that the message is about, unless it is their results that it brings.
    fn call_tools(&mut self) -> bool {
        let has_results =
            self.messages().last().is_some_and(|last| last.results().next().is_some());
        if has_results || matches!(self.ask.prompt.tool_choice(), Some(ToolChoice::Tool(_))) {
            return false;
        }
        let fitting = calling::fitting(self.tools().into_iter(), &self.words);
        for tool in &fitting {
            self.call(&tool.name, calling::arguments(tool, &self.words));
        }
        !fitting.is_empty()
    }

    /// Makes the call that has to be made: then nothing else is said but what was scripted. Where
    /// any will do, a tool that takes the answer comes before the others, so that a loop of calls
    /// has an end.
    fn force_call(&mut self) {
        let is_call = |block: &Said, wanted: Option<&str>| match block {
            Said::Call { name, .. } => wanted.is_none_or(|wanted| wanted == name),
            _ => false,
        };
        let (wanted, tool) = match self.ask.prompt.tool_choice() {
            Some(ToolChoice::Any(_)) => {
                let tools = self.tools();
                let answers = tools.iter().find(|tool| tool.name.contains("answer"));
                (None, answers.or(tools.first()).copied())
            }
            Some(ToolChoice::Tool(named)) => {
                let wanted = Some(named.name.as_str());
                (wanted, self.tools().into_iter().find(|tool| tool.name == named.name))
            }
            _ => return,
        };
        if self.blocks.iter().any(|block| is_call(block, wanted)) {
            return;
        }
        self.blocks.retain(|block| matches!(block, Said::Thought { .. } | Said::Hidden(_)));
        if let Some(tool) = tool {
            self.call(&tool.name, calling::arguments(tool, &self.words));
        }
    }

    fn calls_one_at_a_time(&self) -> bool {
        let choice = self.ask.prompt.additional_model_request_fields.get("tool_choice");
        choice.is_some_and(|choice| choice["disable_parallel_tool_use"] == true)
    }

    /// What the tools said, where the last message tells.
    fn results(&self) -> Option<String> {
        let [.., asked, answered] = self.messages() else { return None };
        let told: Vec<String> =
            answered.results().map(|result| senses::told(result, asked)).collect();
        (!told.is_empty()).then(|| told.join(" "))
    }

    /// The answer in words, in the shape that is asked for.
    fn spoken(&self) -> String {
        let prompt = self.ask.prompt;
        let last = self.messages().last();
        let continued = last.filter(|last| last.role == Role::Assistant).map(Message::text);
        let request = self.messages().iter().rev().find(|message| message.role == Role::User);
        let seen = request.and_then(senses::acknowledged);
        let has_words = request.is_some_and(|request| !request.text().is_empty());
        let own = || senses::own_matters(self.ask.card, prompt, &self.words);
        let said = match (self.results(), seen, own()) {
            (Some(results), _, _) if !has_words => results,
            (results, seen, Some(own)) => joined([results, seen, Some(own)]),
            (None, Some(seen), None) if !senses::is_about_caller(&self.words) => seen,
            (results, seen, None) => joined([results, seen, Some(self.chat())]),
        };
        let said = self.shaped(&said).unwrap_or(said);
        match continued {
            Some(start) if start.trim_start().starts_with('{') && !said.starts_with('{') => {
                let object = json!({"answer": said}).to_string();
                object[1..].to_owned()
            }
            Some(start) => said.strip_prefix(start.as_str()).unwrap_or(&said).to_owned(),
            None => said,
        }
    }

    /// What the demo agent would say, having heard everything that the caller said before.
    fn chat(&self) -> String {
        let spoken = self.messages().iter().filter(|message| message.role == Role::User);
        let mut texts: Vec<String> =
            spoken.map(Message::text).filter(|text| !text.is_empty()).collect();
        texts.pop();
        let mut memory = Memory::default();
        texts.iter().for_each(|text| memory.listen(&phrases::settings(text).1));
        let answer = demo_agent::answer(&mut memory, &self.words, None).text;
        match answer.strip_prefix("I am a demo agent") {
            Some(rest) => format!("I am a demo model{rest}"),
            None => answer,
        }
    }

    /// The text as JSON, where that is asked for.
    fn shaped(&self, said: &str) -> Option<String> {
        let mut seed = Seed::new(&self.words);
        if let Some(format) = &self.ask.prompt.output_config.text_format {
            let Structure::JsonSchema(text) = &format.structure;
            let schema = serde_json::from_str(&text.schema).unwrap_or_default();
            return Some(schema::fitting(&schema, &mut seed).to_string());
        }
        let told = self.ask.prompt.system_texts().find(|text| text.to_lowercase().contains("json"));
        if let Some(schema) = told.and_then(senses::schema_within) {
            return Some(schema::fitting(&schema, &mut seed).to_string());
        }
        let hinted = told.is_some_and(|text| text.to_lowercase().contains("json object"));
        (self.ask.wants_object || hinted).then(|| json!({"answer": said}).to_string())
    }
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> String {
    let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}
