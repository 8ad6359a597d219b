//! A model that several others stand behind: who is asked first, and who next.
//!
//! The session stays with the member that it has, so that prompt caches and upstream sessions
//! stay warm; a new one goes to a member by weight. Members that fail are passed over before the
//! first event, and [`Breaker`](super::breaker::Breaker)s remember them for a while.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use crate::config::{Config, Model};
use crate::turn::{Failure, FailureKind, FinishReason, ModelName};

use super::{Ask, Backend, Farewell, Kind, Mistake, Outlet, Route, Routes, routes, short};

const NAME: &str = "pool";
/// Pools and fallbacks are followed so many times, should they lead in a circle.
const DEEPEST: usize = 4;

/// The kind's entry in [`KINDS`](super::KINDS).
pub(super) const KIND: Kind = Kind {
    name: NAME,
    direct_prefix: None,
    direct: |_, _| Ok(()),
    may_direct: |_| true,
    fields: &[],
    check,
    open: |_, _| Arc::new(NoMember),
};

fn check(model: &Model) -> Vec<Mistake> {
    if !model.upstreams.is_empty() {
        return Vec::new();
    }
    let message = "a pool needs its upstreams, such as [{ model = \"east\", weight = 2 }]";
    vec![Mistake { setting: "upstreams", message: message.to_owned() }]
}

/// Names of other models in a model's settings that are none, or the model itself.
pub(super) fn wrong_names<'a>(
    config: &'a Config,
    model: &'a Model,
) -> impl Iterator<Item = Mistake> + 'a {
    let is_model = |name: &ModelName| {
        let is_direct = config.allows_direct() && routes::is_direct(name);
        is_direct || config.models.iter().any(|other| other.name == *name)
    };
    let upstreams = model.upstreams.iter().map(|member| ("upstreams", &member.model));
    let fallbacks = model.fallbacks.iter().map(|name| ("fallbacks", name));
    let wrong = move |(_, name): &(&str, &ModelName)| **name == model.name || !is_model(name);
    upstreams.chain(fallbacks).filter(wrong).map(|(setting, name)| Mistake {
        setting,
        message: format!("{:?} is no other model of this configuration", short(name)),
    })
}

/// Everybody who may answer for a model, in the order in which to ask: `stays` is the model that
/// answered this session before.
pub(super) fn candidates(
    routes: &Routes,
    route: &Arc<Route>,
    stays: Option<&ModelName>,
) -> Vec<Arc<Route>> {
    let mut order = Vec::new();
    add(routes, route, stays, DEEPEST, &mut order);
    // Those who are known to fail come last, in the same order.
    let now = Instant::now();
    order.sort_by_key(|candidate| !candidate.breaker.is_ready(now));
    order
}

fn add(
    routes: &Routes,
    route: &Arc<Route>,
    stays: Option<&ModelName>,
    depth: usize,
    order: &mut Vec<Arc<Route>>,
) {
    let Some(depth) = depth.checked_sub(1) else { return };
    let model = &route.model;
    if model.upstreams.is_empty() {
        if !order.iter().any(|known| known.model.name == model.name) {
            order.push(Arc::clone(route));
        }
    } else {
        for name in by_weight(model, stays) {
            if let Some(member) = routes.exactly(&name) {
                add(routes, &member, stays, depth, order);
            }
        }
    }
    for name in &model.fallbacks {
        if let Some(fallback) = routes.exactly(name) {
            add(routes, &fallback, stays, depth, order);
        }
    }
}

/// The members in a random order in which the weightier ones tend to come first; the one that
/// the session has before all.
fn by_weight(model: &Model, stays: Option<&ModelName>) -> Vec<ModelName> {
    let mut rest: Vec<_> = model.upstreams.iter().collect();
    let mut order = Vec::with_capacity(rest.len());
    if let Some(at) = rest.iter().position(|member| Some(&member.model) == stays) {
        order.push(rest.remove(at).model.clone());
    }
    while !rest.is_empty() {
        let total: u64 = rest.iter().map(|member| u64::from(member.weight.get())).sum();
        let mut drawn = random() % total;
        let at = rest.iter().position(|member| {
            let weight = u64::from(member.weight.get());
            let is_drawn = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            is_drawn
        });
        order.push(rest.remove(at.unwrap_or(0)).model.clone());
    }
    order
}

/// A number that nobody needs to be unable to guess: each hasher of the standard library has
/// keys of its own.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// Stands where a pool has nobody who could be asked.
#[derive(Debug)]
struct NoMember;

impl Backend for NoMember {
    fn answer(
        &self,
        _ask: Ask,
        _outlet: Outlet,
    ) -> BoxFuture<'static, Result<FinishReason, Failure>> {
        let message = "none of this model's upstreams can be asked";
        let failure = Failure::new(FailureKind::UpstreamUnavailable, message);
        ready(Err(failure.after(Duration::from_secs(5)))).boxed()
    }

    fn remembers(&self) -> Option<Duration> {
        None
    }

    fn end(&self, _farewell: Farewell) -> BoxFuture<'static, Result<(), Failure>> {
        ready(Ok(())).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use crate::config::PoolMember;

    use super::*;

    fn pool(members: &[(&str, u32)]) -> Model {
        let mut model = Model::new("pool".parse().unwrap(), NAME);
        let member = |(name, weight): &(&str, u32)| PoolMember {
            model: name.parse().unwrap(),
            weight: NonZeroU32::new(*weight).unwrap(),
        };
        model.upstreams = members.iter().map(member).collect();
        model
    }

    #[test]
    fn every_member_comes_once_and_the_one_that_the_session_has_comes_first() {
        let model = pool(&[("a", 1), ("b", 9), ("c", 1)]);
        let stays: ModelName = "c".parse().unwrap();
        let order = by_weight(&model, Some(&stays));
        assert_eq!((order.len(), &order[0]), (3, &stays));
        let mut names: Vec<_> = order.iter().map(ModelName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn a_member_is_asked_as_often_as_its_weight_says() {
        let model = pool(&[("a", 1), ("b", 3)]);
        let draws = 4_000;
        let first = (0..draws).filter(|_| by_weight(&model, None)[0].as_str() == "b").count();
        assert!((2_700..3_300).contains(&first), "{first} of {draws}");
    }

    #[test]
    fn a_pool_without_members_is_a_mistake() {
        assert_eq!(check(&pool(&[]))[0].setting, "upstreams");
    }
}
