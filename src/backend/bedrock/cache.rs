//! Where a prompt is worth keeping: cache points.
//!
//! A model keeps the prompt up to each point for some minutes, and reads what it kept where a
//! later prompt begins the same. The session resends its whole transcript each turn, so it knows
//! what stays: the tools, the instructions, and everything up to the user's last word, which the
//! next turn repeats. A point there writes; the one before, where the last turn wrote, reads.
//! Prompts that are too short are not kept, without harm. A client that puts points of its own
//! gets these and no others; the transcript keeps them, so that what one turn wrote the next
//! reads.
//! (Amazon Bedrock User Guide, "Prompt caching for faster model inference": four points at most.)

use aws_sdk_bedrockruntime::types::{
    CachePointBlock, CachePointType, CacheTtl, ContentBlock, ConversationRole, SystemContentBlock,
    Tool,
};

use crate::turn::{CacheLife, Failure};

use super::families::Caching;
use super::transcript::Said;

/// Points of one request.
const MOST: usize = 4;
/// Turns of the user after which there is one.
const TURNS: usize = 2;

/// Says to keep what stands before it, where the model has a cache. One that keeps nothing for
/// an hour keeps it for five minutes.
///
/// # Errors
/// `Internal`, should the SDK come to ask for more than a type.
pub(super) fn point(caching: Caching, life: CacheLife) -> Result<Option<CachePointBlock>, Failure> {
    if caching == Caching::None {
        return Ok(None);
    }
    let is_long = life == CacheLife::Hour && caching == Caching::Hour;
    let ttl = is_long.then_some(CacheTtl::OneHour);
    let point = CachePointBlock::builder().r#type(CachePointType::Default).set_ttl(ttl);
    point.build().map(Some).map_err(|_| Failure::internal())
}

/// A prompt, in the order in which models read one.
#[derive(Debug)]
pub(super) struct Prompt<'a> {
    pub(super) tools: &'a mut Vec<Tool>,
    pub(super) system: &'a mut Vec<SystemContentBlock>,
    pub(super) said: &'a mut [Said],
}

impl Prompt<'_> {
    /// Puts points where the session knows that the prompt will be repeated, unless the client
    /// put some itself.
    pub(super) fn mark(&mut self, caching: Caching) -> Result<(), Failure> {
        let has_own = self.tools.iter().any(Tool::is_cache_point)
            || self.system.iter().any(SystemContentBlock::is_cache_point)
            || self.said.iter().any(|said| said.blocks.iter().any(is_point));
        let usual = point(caching, CacheLife::default())?.filter(|_| !has_own);
        let Some(point) = usual else { return Ok(()) };
        if caching.has_tools() && !self.tools.is_empty() {
            self.tools.push(Tool::CachePoint(point.clone()));
        }
        if !self.system.is_empty() {
            self.system.push(SystemContentBlock::CachePoint(point.clone()));
        }
        let users = self.said.iter_mut().rev().filter(|said| said.role == ConversationRole::User);
        for said in users.take(TURNS) {
            said.blocks.push(ContentBlock::CachePoint(point.clone()));
        }
        Ok(())
    }

    /// Leaves the last of the client's own points that a request may have: the tools' and the
    /// instructions' before those in messages, of which the history may hold many.
    pub(super) fn limit(&mut self) {
        let mut left = MOST;
        keep_last(self.tools, Tool::is_cache_point, &mut left);
        keep_last(self.system, SystemContentBlock::is_cache_point, &mut left);
        for said in self.said.iter_mut().rev() {
            keep_last(&mut said.blocks, is_point, &mut left);
        }
    }
}

/// Leaves so many of the points among some entries, the last ones.
fn keep_last<T>(entries: &mut Vec<T>, is_point: fn(&T) -> bool, left: &mut usize) {
    let points = entries.iter().filter(|entry| is_point(entry)).count();
    let mut surplus = points.saturating_sub(*left);
    *left = left.saturating_sub(points);
    entries.retain(|entry| {
        let goes = surplus > 0 && is_point(entry);
        surplus -= usize::from(goes);
        !goes
    });
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

    fn point() -> CachePointBlock {
        super::point(Caching::Tools, CacheLife::FiveMinutes).unwrap().unwrap()
    }

    fn mark(
        said: &mut [Said],
        system: &mut Vec<SystemContentBlock>,
        tools: &mut Vec<Tool>,
        caching: Caching,
    ) -> Result<(), Failure> {
        Prompt { tools, system, said }.mark(caching)
    }

    fn limit(said: &mut [Said]) {
        Prompt { tools: &mut Vec::new(), system: &mut Vec::new(), said }.limit();
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
        said[0].blocks.push(ContentBlock::CachePoint(point()));
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
            said.blocks.push(ContentBlock::CachePoint(point()));
        }
        limit(&mut said);
        assert_eq!(points(&said), [0, 1, 1, 1, 1]);
    }

    #[test]
    fn points_anywhere_stand_alone_and_the_tools_and_instructions_go_first() {
        let (mut said, mut system) = (conversation(), system());
        let mut tools = vec![Tool::CachePoint(point())];
        mark(&mut said, &mut system, &mut tools, Caching::Tools).unwrap();
        assert_eq!((points(&said), system.len(), tools.len()), (vec![0; 5], 1, 1));
        system.push(SystemContentBlock::CachePoint(point()));
        for said in &mut said {
            said.blocks.push(ContentBlock::CachePoint(point()));
        }
        Prompt { tools: &mut tools, system: &mut system, said: &mut said }.limit();
        assert_eq!((points(&said), system.len(), tools.len()), (vec![0, 0, 0, 1, 1], 2, 1));
    }

    #[test]
    fn a_point_lives_an_hour_where_the_model_keeps_prompts_so_long() {
        let ttl = |caching| super::point(caching, CacheLife::Hour).unwrap().map(|point| point.ttl);
        assert_eq!(ttl(Caching::Hour), Some(Some(CacheTtl::OneHour)));
        assert_eq!(ttl(Caching::Prompts), Some(None));
        assert_eq!(ttl(Caching::None), None);
    }
}
