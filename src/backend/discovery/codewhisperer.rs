//! CodeWhisperer's models: those that the sign-in can be asked for.
//!
//! Looked for as long as somebody is signed in for it and their direct names may be asked for, by
//! `routing.allow_direct` or by `discovery.models`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::codewhisperer::CodeWhispererAccess;

use super::Discovery;

/// How soon a sign-in is noticed, or that it is gone.
const NOTICE: Duration = Duration::from_secs(5);
/// How soon a question is asked again that got no answer.
const AGAIN: Duration = Duration::from_secs(60);

/// Looks for models, time after time; never returns.
pub(super) async fn watch(known: &Discovery, access: &CodeWhispererAccess, refresh: Duration) {
    let mut next = Instant::now();
    let mut is_warned = false;
    loop {
        if !access.sign_in.exists() || !access.is_wanted() {
            known.codewhisperer.store(Arc::default());
            next = Instant::now();
        } else if next <= Instant::now() {
            let is_found = look(known, access, &mut is_warned).await;
            next = Instant::now() + if is_found { refresh } else { refresh.min(AGAIN) };
        }
        tokio::time::sleep(NOTICE.min(refresh)).await;
    }
}

/// Looks once. What was found before stays where no answer comes.
async fn look(known: &Discovery, access: &CodeWhispererAccess, is_warned: &mut bool) -> bool {
    let problem = match access.models().await {
        Ok(Some(found)) => {
            if found.len() != known.codewhisperer.load().len() || *is_warned {
                tracing::info!(models = found.len(), "models of CodeWhisperer were discovered");
            }
            *is_warned = false;
            known.codewhisperer.store(Arc::new(found));
            return true;
        }
        Ok(None) => "the service did not answer".to_owned(),
        Err(problem) => problem.to_string(),
    };
    if !std::mem::replace(is_warned, true) {
        tracing::warn!(
            problem,
            "models of CodeWhisperer cannot be listed; they can be asked by name"
        );
    }
    false
}
