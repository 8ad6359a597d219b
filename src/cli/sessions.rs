//! `outcrop sessions`: list, show, follow and end those of a running Outcrop.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use crate::config::Environment;

use super::answer::{Answer, Call, Piece, Whole};
use super::server::{Server, ServerArgs, Trouble};
use super::terminal::{Paint, harmless, table};
use super::{EXIT_FAILED, EXIT_OK, complain, is_unheard, print, refuse, say};

/// Between two looks at a session in which no turn runs.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Which server, and what to do.
#[derive(Debug, Args)]
pub(super) struct Sessions {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    verb: SessionVerb,
}

/// What can be done with sessions.
#[derive(Debug, Subcommand)]
enum SessionVerb {
    /// List the key's own sessions, the last active first
    List {
        /// How many at most, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100,
              value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a session with its messages
    Show {
        /// The session
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a session's answers as they come, until Ctrl-C or the session's end
    Follow {
        /// The session
        id: String,
        /// Stop after one answer
        #[arg(long)]
        once: bool,
        /// Print each answer as JSON once it is there, one a line
        #[arg(long)]
        json: bool,
    },
    /// End sessions: they are forgotten, and turns that run are stopped
    End {
        /// The sessions
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

pub(super) async fn run(verb: Sessions, environment: Environment) -> u8 {
    let paint = Paint::for_output(&environment);
    let server = match verb.server.server(&environment) {
        Ok(server) => server,
        Err(message) => return refuse(&message),
    };
    let done = match verb.verb {
        SessionVerb::List { limit, json } => list(&server, limit, json, paint).await,
        SessionVerb::Show { id, json } => show(&server, &id, json, paint).await,
        SessionVerb::Follow { id, once, json } => {
            let path = path_of(&id);
            Follower { server: &server, path, paint, json, turns: None }.run(once).await
        }
        SessionVerb::End { ids } => end(&server, &ids).await,
    };
    match done {
        Ok(()) => EXIT_OK,
        Err(trouble) => {
            complain(&told(&trouble));
            EXIT_FAILED
        }
    }
}

/// A server without sessions has no such path, rather than no such session.
fn told(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Strange { url, what } => {
            format!(
                "{url} keeps no sessions that can be asked for: {what}; check the URL, and that it \
                 is an Outcrop"
            )
        }
        Trouble::Refused { code, url, .. }
            if trouble.is_not_found() && code == "session_not_found" =>
        {
            format!("{url} has no such session, or not for this key; outcrop sessions list has all")
        }
        _ => trouble.to_string(),
    }
}

async fn list(server: &Server, limit: u16, json: bool, paint: Paint) -> Result<(), Trouble> {
    let list = server.document(Method::GET, &format!("/sessions?limit={limit}")).await?;
    let Some(sessions) = list["data"].as_array() else {
        return Err(server.strange("GET /sessions gives no list"));
    };
    if json {
        say(&Value::from(sessions.clone()));
        return Ok(());
    }
    if sessions.is_empty() {
        say(&"no sessions");
        return Ok(());
    }
    let now = seconds_since_1970();
    let head = ["SESSION", "MODEL", "STATE", "TURNS", "LAST ACTIVE"].map(str::to_owned).to_vec();
    let row = |session: &Value| {
        let text = |name: &str| harmless(session[name].as_str().unwrap_or_default());
        let model = match session["moved_to"].as_str() {
            Some(moved_to) => harmless(moved_to),
            None => text("model"),
        };
        let idle = now.saturating_sub(session["last_active_at"].as_u64().unwrap_or(now));
        vec![text("id"), model, text("state"), session["turns"].to_string(), ago(idle)]
    };
    let rows: Vec<_> = std::iter::once(head).chain(sessions.iter().map(row)).collect();
    for (place, line) in table(&rows).iter().enumerate() {
        if place == 0 { say(&paint.bold(line)) } else { say(line) }
    }
    Ok(())
}

pub(super) fn seconds_since_1970() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A length of time in its largest unit.
pub(super) fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// A session's path, its id as it may stand there.
pub(super) fn path_of(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    let encoded = id.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    format!("/sessions/{}", encoded.collect::<String>())
}

async fn show(server: &Server, id: &str, json: bool, paint: Paint) -> Result<(), Trouble> {
    let session = server.document(Method::GET, &path_of(id)).await?;
    if json {
        say(&session);
        return Ok(());
    }
    let text = |name: &str| harmless(session[name].as_str().unwrap_or_default());
    say(&format_args!(
        "{}  {}  {}  {} turns\n",
        paint.bold(text("id")),
        text("model"),
        text("state"),
        session["turns"]
    ));
    for message in session["messages"].as_array().into_iter().flatten() {
        show_message(message, paint);
    }
    for call in session["pending_tool_calls"].as_array().into_iter().flatten() {
        say(&paint.odd(format_args!("waits for the result of {}", harmless(&call.to_string()))));
    }
    Ok(())
}

fn show_message(message: &Value, paint: Paint) {
    let role = harmless(message["role"].as_str().unwrap_or("?"));
    let status = match message["status"].as_str() {
        Some("completed") | None => String::new(),
        Some(status) => paint.odd(format_args!(" ({})", harmless(status))),
    };
    let content = match &message["content"] {
        Value::String(text) => harmless(text),
        other => harmless(&other.to_string()),
    };
    say(&format_args!("{}{status}\n{content}", paint.bold(role)));
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        say(&paint.dim(format_args!("calls {}", harmless(&call["function"].to_string()))));
    }
    say(&"");
}

async fn end(server: &Server, ids: &[String]) -> Result<(), Trouble> {
    for id in ids {
        server.document(Method::DELETE, &path_of(id)).await?;
        say(&format_args!("{id} ended"));
    }
    Ok(())
}

/// Follows one session.
struct Follower<'a> {
    server: &'a Server,
    path: String,
    paint: Paint,
    json: bool,
    /// Turns whose answers were printed, or were over before.
    turns: Option<u64>,
}

impl Follower<'_> {
    async fn run(mut self, once: bool) -> Result<(), Trouble> {
        let stopped = tokio::signal::ctrl_c();
        tokio::pin!(stopped);
        loop {
            let answered = tokio::select! {
                answered = self.look() => answered?,
                _ = &mut stopped => return Ok(()),
            };
            if (answered && once) || is_unheard() {
                return Ok(());
            }
            if answered {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = &mut stopped => return Ok(()),
            }
        }
    }

    /// Prints the answer that is on its way, or else those that were missed; says whether there
    /// was any.
    async fn look(&mut self) -> Result<bool, Trouble> {
        let session = self.server.document(Method::GET, &self.path).await?;
        let turns = session["turns"].as_u64().unwrap_or_default();
        if session["running_turn"].is_string() {
            return self.print_running(turns).await;
        }
        let before = self.turns.replace(turns).unwrap_or(turns);
        let missed = usize::try_from(turns.saturating_sub(before)).unwrap_or_default();
        if missed == 0 {
            return Ok(false);
        }
        let messages = session["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let asked = |message: &&Value| message["role"] == "user";
        let begins = messages.iter().rev().filter(asked).nth(missed - 1);
        let from =
            begins.and_then(|begin| messages.iter().position(|one| std::ptr::eq(one, begin)));
        for message in messages.get(from.unwrap_or_default()..).unwrap_or_default() {
            match self.json {
                true if message["role"] == "assistant" => say(&line_of(message)),
                true => {}
                false => show_message(message, self.paint),
            }
        }
        Ok(true)
    }

    /// Prints the answer that is on its way, after so many turns.
    async fn print_running(&mut self, turns: u64) -> Result<bool, Trouble> {
        let path = format!("{}/events", self.path);
        let reply = match self.server.ask(Method::GET, &path, None).await {
            Ok(reply) => reply,
            // It ended in between; the next look finds what it said.
            Err(trouble) if trouble.is_not_found() => return Ok(false),
            Err(trouble) => return Err(trouble),
        };
        let mut answer = Answer::of(self.server, reply);
        if !self.json {
            say(&self.paint.bold("assistant"));
        }
        let failed = loop {
            match answer.next().await {
                Ok(None) => break None,
                // One turn that failed is not the end of the session.
                Err(trouble) => break Some(trouble.to_string()),
                Ok(Some(_)) if self.json => {}
                Ok(Some(Piece::Text(text))) => print(&harmless(&text)),
                Ok(Some(Piece::Thought(text))) => print(&self.paint.dim(harmless(&text))),
            }
            if is_unheard() {
                return Ok(true);
            }
        };
        let session = self.server.document(Method::GET, &self.path).await.unwrap_or_default();
        let failed = match failed {
            None if was_interrupted(&session) => Some("interrupted".to_owned()),
            failed => failed,
        };
        // One that failed may not count, and others may have come since.
        self.turns = Some(session["turns"].as_u64().map_or(turns + 1, |now| now.min(turns + 1)));
        self.print_end(&answer.into_whole(), failed.as_deref());
        Ok(true)
    }

    fn print_end(&self, whole: &Whole, failed: Option<&str>) {
        let calls: Vec<Value> = whole.calls.iter().map(Call::written).collect();
        if self.json {
            return say(&json!({
                "text": whole.text, "tool_calls": calls, "finish_reason": whole.finish_reason,
                "usage": whole.usage, "failed": failed,
            }));
        }
        if let Some(failed) = failed {
            say(&"");
            complain(&failed);
        }
        for call in calls {
            let function = harmless(&call["function"].to_string());
            say(&self.paint.dim(format_args!("\ncalls {function}")));
        }
        say(&"\n");
    }
}

/// Whether a session's last answer was: the stream of such a one ends as any other does.
fn was_interrupted(session: &Value) -> bool {
    let messages = session["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let last = messages.iter().rfind(|message| message["role"] == "assistant");
    last.is_some_and(|message| message["status"] == "interrupted")
}

/// An answer that was over before it could be followed, as one that was.
fn line_of(message: &Value) -> Value {
    let is_whole = message["status"] == "completed";
    let calls = message.get("tool_calls").cloned().unwrap_or_else(|| json!([]));
    json!({
        "text": message["content"].as_str().unwrap_or_default(), "tool_calls": calls,
        "finish_reason": null, "usage": null,
        "failed": if is_whole { Value::Null } else { message["status"].clone() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stands_in_a_path_whatever_it_is_made_of() {
        assert_eq!(path_of("sess_1.a-b:c"), "/sessions/sess_1.a-b:c");
        assert_eq!(path_of("a/b?c é"), "/sessions/a%2Fb%3Fc%20%C3%A9");
    }

    #[test]
    fn a_time_is_told_in_its_largest_unit() {
        assert_eq!([3, 60, 7_300, 90_000].map(ago), ["3 s ago", "1 min ago", "2 h ago", "1 d ago"]);
    }
}
