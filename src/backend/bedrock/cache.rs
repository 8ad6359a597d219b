//! Where a prompt is worth keeping: cache points.
//!
//! A model keeps the prompt up to each point for some minutes, and reads what it kept where a
//! later prompt begins the same. The session resends its whole transcript each turn, so it knows
//! what stays: the tools, the instructions, and everything up to the user's last word, which the
//! next turn repeats. A point there writes; the one before, where the last turn wrote, reads.
//! Prompts that are too short are not kept, without harm.
//! (Amazon Bedrock User Guide, "Prompt caching for faster model inference": four points at most.)

use aws_sdk_bedrockruntime::types::{ContentBlock, ConversationRole, SystemContentBlock, Tool};

use crate::turn::Failure;

use super::families::Caching;
use super::transcript::{Said, cache_point};

/// Points of one request.
const MOST: usize = 4;
/// Turns of the user after which there is one.
const TURNS: usize = 2;

/// Puts points where the session knows that the prompt will be repeated, unless the client put
/// some itself.
pub(super) fn mark(
    said: &mut [Said],
    system: &mut Vec<SystemContentBlock>,
    tools: &mut Vec<Tool>,
    caching: Caching,
) -> Result<(), Failure> {
    if caching == Caching::None || said.iter().any(|said| said.blocks.iter().any(is_point)) {
        return Ok(());
    }
    if caching == Caching::Tools && !tools.is_empty() {
        tools.push(Tool::CachePoint(cache_point(None)?));
    }
    if !system.is_empty() {
        system.push(SystemContentBlock::CachePoint(cache_point(None)?));
    }
    let users = said.iter_mut().rev().filter(|said| said.role == ConversationRole::User);
    for said in users.take(TURNS) {
        said.blocks.push(ContentBlock::CachePoint(cache_point(None)?));
    }
    Ok(())
}

/// Leaves the last of the client's own points that a request may have.
pub(super) fn limit(said: &mut [Said]) {
    let mut left = MOST;
    for said in said.iter_mut().rev() {
        let mut kept: Vec<_> = said.blocks.drain(..).rev().collect();
        kept.retain(|block| {
            let stays = !is_point(block) || left > 0;
            left -= usize::from(stays && is_point(block));
            stays
        });
        said.blocks.extend(kept.into_iter().rev());
    }
}

fn is_point(block: &ContentBlock) -> bool {
    block.is_cache_point()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(role: ConversationRole, text: &str) -> Said {
        Said { role, blocks: vec![ContentBlock::Text(text.to_owned())] }
    }

    fn conversation() -> Vec<Said> {
        let (user, assistant) = (ConversationRole::User, ConversationRole::Assistant);
        vec![
            said(user.clone(), "one"),
            said(assistant.clone(), "1"),
            said(user.clone(), "two"),
            said(assistant, "2"),
            said(user, "three"),
        ]
    }

    fn points(said: &[Said]) -> Vec<usize> {
        let of = |said: &Said| said.blocks.iter().filter(|block| is_point(block)).count();
        said.iter().map(of).collect()
    }

    fn system() -> Vec<SystemContentBlock> {
        vec![SystemContentBlock::Text("Be brief.".to_owned())]
    }

    #[test]
    fn the_last_two_turns_of_the_user_and_the_instructions_are_kept() {
        let (mut said, mut system, mut tools) = (conversation(), system(), Vec::new());
        mark(&mut said, &mut system, &mut tools, Caching::Tools).unwrap();
        assert_eq!(points(&said), [0, 0, 1, 0, 1]);
        assert!(system[1].is_cache_point());
        assert!(tools.is_empty());
    }

    #[test]
    fn what_one_turn_writes_the_next_one_reads() {
        let mut earlier = conversation()[..3].to_vec();
        let mut later = conversation();
        for said in [&mut earlier, &mut later] {
            mark(said, &mut Vec::new(), &mut Vec::new(), Caching::Prompts).unwrap();
        }
        assert_eq!(earlier[2], later[2]);
    }

    #[test]
    fn points_of_the_clients_own_stand_alone() {
        let mut said = conversation();
        said[0].blocks.push(ContentBlock::CachePoint(cache_point(None).unwrap()));
        mark(&mut said, &mut system(), &mut Vec::new(), Caching::Tools).unwrap();
        assert_eq!(points(&said), [1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_model_without_a_cache_gets_no_points() {
        let mut said = conversation();
        mark(&mut said, &mut system(), &mut Vec::new(), Caching::None).unwrap();
        assert_eq!(points(&said), [0; 5]);
    }

    #[test]
    fn of_too_many_points_the_last_are_left() {
        let mut said = conversation();
        for said in &mut said {
            said.blocks.push(ContentBlock::CachePoint(cache_point(None).unwrap()));
        }
        limit(&mut said);
        assert_eq!(points(&said), [0, 1, 1, 1, 1]);
    }
}
