//! A response as a stream of its events.
//!
//! Every frame has a number, and the same events make the same frames whenever they are written:
//! so a stream is resumed by writing all of it again and leaving out what the client has. The
//! `id:` of a frame is that number behind the turn's id.
//!
//! The keep-alive is a comment without a blank line, for the reason that
//! [the chat's](crate::wire::openai_chat) is one.

use bytes::{BufMut, BytesMut};

use crate::turn::{FinishReason, TurnEvent};
use crate::wire::sse::EventIds;
use crate::wire::{Encoder, Head, Options, json_text};

use super::answer::{Answer, Change, State};
use super::item::{Body, Item, Written};
use super::response::Sheet;

const KEEP_ALIVE: &[u8] = b": keep-alive\n";

/// Writes one response.
#[derive(Debug)]
pub(super) struct Stream {
    sheet: Sheet,
    answer: Answer,
    frames: Frames,
}

impl Stream {
    pub(super) fn new(head: &Head, options: Options) -> Self {
        let (sheet, answer) = Sheet::of(head, options);
        let frames = Frames {
            ids: EventIds::of(&head.turn),
            next: 0,
            after: options.starting_after,
            grown: Grown::default(),
        };
        Self { sheet, answer, frames }
    }

    /// Writes a frame that shows the response as it is now.
    fn state(&mut self, kind: &'static str, out: &mut BytesMut) {
        if self.frames.begin(kind, out) {
            out.put_slice(br#","response":"#);
            self.sheet.write(&self.answer, None, out);
            end(out);
        }
    }
}

impl Encoder for Stream {
    fn open(&mut self, out: &mut BytesMut) {
        self.state("response.created", out);
        if self.sheet.is_background() {
            self.state("response.queued", out);
        }
    }

    fn event(&mut self, _sequence: u64, event: &TurnEvent, out: &mut BytesMut) {
        if self.answer.is_over() {
            return;
        }
        // An encoder that goes on where another one stopped is not opened, but counts all frames.
        if self.frames.next == 0 {
            self.open(out);
        }
        let was_waiting = *self.answer.state() == State::Waiting;
        let Self { answer, frames, .. } = self;
        answer.take(event, |change| frames.change(&change, out));
        match self.answer.state() {
            State::Running if was_waiting => self.state("response.in_progress", out),
            State::Waiting | State::Running => {}
            State::Finished(FinishReason::Stop | FinishReason::ToolCalls) => {
                self.state("response.completed", out);
            }
            // The protocol knows no event for one that was cancelled; its status says so.
            State::Finished(
                FinishReason::Length | FinishReason::ContentFilter | FinishReason::Interrupted,
            ) => self.state("response.incomplete", out),
            State::Failed(_) => self.state("response.failed", out),
        }
    }

    fn skip(&mut self, event: &TurnEvent) {
        self.event(0, event, &mut BytesMut::new());
    }

    fn keep_alive(&self) -> &'static [u8] {
        KEEP_ALIVE
    }
}

/// The frames of one stream: their numbers, and those of them that are written.
#[derive(Debug)]
struct Frames {
    ids: EventIds,
    /// The number of the next one.
    next: u64,
    /// The last one that the client has.
    after: Option<u64>,
    grown: Grown,
}

/// The constant parts of the frames by which the open item grows.
#[derive(Debug, Default)]
struct Grown {
    kind: &'static str,
    /// From the number to what is added.
    opening: Vec<u8>,
    /// Whether it tells behind it how likely that was.
    weighs: bool,
}

/// How the events of an item are called, where the item has a text that grows.
struct Names {
    part_added: Option<&'static str>,
    delta: &'static str,
    done: &'static str,
    /// The member that holds all of the text once it is done.
    said: &'static [u8],
    part_done: Option<&'static str>,
    /// The member that counts the parts of the item; always 0, since an item has one.
    place: &'static [u8],
    /// The part before anything of it came.
    empty_part: &'static [u8],
    /// Whether a delta and its end tell how likely the tokens were.
    weighs: bool,
}

const MESSAGE: Names = Names {
    part_added: Some("response.content_part.added"),
    delta: "response.output_text.delta",
    done: "response.output_text.done",
    said: br#","text":"#,
    part_done: Some("response.content_part.done"),
    place: br#","content_index":0"#,
    empty_part: br#"{"type":"output_text","text":"","annotations":[],"logprobs":[]}"#,
    weighs: true,
};
const THINKING: Names = Names {
    part_added: Some("response.content_part.added"),
    delta: "response.reasoning_text.delta",
    done: "response.reasoning_text.done",
    said: br#","text":"#,
    part_done: Some("response.content_part.done"),
    place: br#","content_index":0"#,
    empty_part: br#"{"type":"reasoning_text","text":""}"#,
    weighs: false,
};
const SUMMARY: Names = Names {
    part_added: Some("response.reasoning_summary_part.added"),
    delta: "response.reasoning_summary_text.delta",
    done: "response.reasoning_summary_text.done",
    said: br#","text":"#,
    part_done: Some("response.reasoning_summary_part.done"),
    place: br#","summary_index":0"#,
    empty_part: br#"{"type":"summary_text","text":""}"#,
    weighs: false,
};
const FUNCTION_CALL: Names = Names {
    part_added: None,
    delta: "response.function_call_arguments.delta",
    done: "response.function_call_arguments.done",
    said: br#","arguments":"#,
    part_done: None,
    place: b"",
    empty_part: b"",
    weighs: false,
};
const CUSTOM_CALL: Names = Names {
    delta: "response.custom_tool_call_input.delta",
    done: "response.custom_tool_call_input.done",
    said: br#","input":"#,
    ..FUNCTION_CALL
};

impl Names {
    fn of(item: &Item) -> Option<&'static Self> {
        match item.body {
            Body::Message { .. } => Some(&MESSAGE),
            Body::Thinking { is_summary: false, .. } => Some(&THINKING),
            Body::Thinking { .. } => Some(&SUMMARY),
            Body::Call { is_custom: false, .. } => Some(&FUNCTION_CALL),
            Body::Call { .. } => Some(&CUSTOM_CALL),
            Body::Redacted { .. } => None,
        }
    }
}

impl Frames {
    /// Begins a frame up to its number; says whether it is to be written.
    fn begin(&mut self, kind: &'static str, out: &mut BytesMut) -> bool {
        let number = self.next;
        self.next += 1;
        if self.after.is_some_and(|after| number <= after) {
            return false;
        }
        out.put_slice(b"event: ");
        out.put_slice(kind.as_bytes());
        out.put_u8(b'\n');
        self.ids.write(number, out);
        out.put_slice(b"\ndata: {\"type\":\"");
        out.put_slice(kind.as_bytes());
        out.put_slice(br#"","sequence_number":"#);
        json_text::value(&number, out);
        true
    }

    fn change(&mut self, change: &Change<'_>, out: &mut BytesMut) {
        match change {
            Change::Added(item) => self.added(item, out),
            Change::Grown(more) => self.grown(more, b"", out),
            Change::Weighed(logprobs) => self.grown("", logprobs, out),
            Change::Done(item, written) => self.done(item, written, out),
        }
    }

    fn added(&mut self, item: &Item, out: &mut BytesMut) {
        if self.begin("response.output_item.added", out) {
            out.put_slice(br#","output_index":"#);
            json_text::value(&item.index, out);
            out.put_slice(br#","item":"#);
            item.write_added(out);
            end(out);
        }
        let Some(names) = Names::of(item) else { return };
        if let Some(kind) = names.part_added
            && self.begin(kind, out)
        {
            write_place(item, names, out);
            out.put_slice(br#","part":"#);
            out.put_slice(names.empty_part);
            end(out);
        }
        let mut opening = BytesMut::new();
        write_place(item, names, &mut opening);
        opening.put_slice(br#","delta":"#);
        self.grown = Grown { kind: names.delta, opening: opening.to_vec(), weighs: names.weighs };
    }

    /// Writes that the open item grows, or how likely what it grew by last was: its text has gone
    /// out before.
    fn grown(&mut self, more: &str, logprobs: &[u8], out: &mut BytesMut) {
        /// About what stands in a frame besides the text and the parts that are ready.
        const ROOM: usize = 160;
        out.reserve(self.ids.len() + self.grown.opening.len() + ROOM + more.len() + logprobs.len());
        if self.begin(self.grown.kind, out) {
            out.put_slice(&self.grown.opening);
            json_text::string(more, out);
            if self.grown.weighs {
                write_logprobs(logprobs, out);
            }
            end(out);
        }
    }

    fn done(&mut self, item: &Item, written: &Written, out: &mut BytesMut) {
        for (index, annotation) in written.annotations.iter().enumerate() {
            if self.begin("response.output_text.annotation.added", out) {
                write_place(item, &MESSAGE, out);
                out.put_slice(br#","annotation_index":"#);
                json_text::value(&index, out);
                out.put_slice(br#","annotation":"#);
                out.put_slice(annotation);
                end(out);
            }
        }
        if let Some(names) = Names::of(item) {
            self.said(item, names, out);
            if let Some(kind) = names.part_done
                && self.begin(kind, out)
            {
                write_place(item, names, out);
                out.put_slice(br#","part":"#);
                out.put_slice(&written.part);
                end(out);
            }
        }
        if self.begin("response.output_item.done", out) {
            out.put_slice(br#","output_index":"#);
            json_text::value(&item.index, out);
            out.put_slice(br#","item":"#);
            out.put_slice(&written.json);
            end(out);
        }
    }

    /// Writes the frame that says all of an item's text at once.
    fn said(&mut self, item: &Item, names: &Names, out: &mut BytesMut) {
        if !self.begin(names.done, out) {
            return;
        }
        write_place(item, names, out);
        if let Body::Call { name, is_custom: false, .. } = &item.body {
            out.put_slice(br#","name":"#);
            json_text::string(name, out);
        }
        out.put_slice(names.said);
        json_text::string(&item.said(), out);
        if let Body::Message { logprobs, .. } = &item.body {
            write_logprobs(logprobs, out);
        }
        end(out);
    }
}

/// Writes where in the response something happens.
fn write_place(item: &Item, names: &Names, out: &mut BytesMut) {
    out.put_slice(br#","item_id":"#);
    json_text::string(&item.id, out);
    out.put_slice(br#","output_index":"#);
    json_text::value(&item.index, out);
    out.put_slice(names.place);
}

fn write_logprobs(entries: &[u8], out: &mut BytesMut) {
    out.put_slice(br#","logprobs":["#);
    out.put_slice(entries);
    out.put_u8(b']');
}

/// Ends a frame.
fn end(out: &mut BytesMut) {
    out.put_slice(b"}\n\n");
}
