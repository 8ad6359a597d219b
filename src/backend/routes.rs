//! Which backend a model name leads to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::Model;
use crate::metrics::{self, TurnMetrics};
use crate::turn::{Failure, FailureKind, ModelName};

use super::breaker::{Breaker, Habits};
use super::fields::Fields;
use super::{
    Backend, Deps, FoundAgent, FoundModel, KINDS, Kind, Mistake, bedrock, codewhisperer, short,
};

/// A model and who answers for it.
#[derive(Debug)]
pub struct Route {
    /// The model's settings.
    pub model: Model,
    /// Whether it was asked for by a direct name, not one of the configuration.
    pub is_direct: bool,
    /// The backend's kind.
    pub kind: &'static str,
    /// What becomes of the members of a request.
    pub fields: Fields,
    /// Who answers.
    pub backend: Arc<dyn Backend>,
    /// Where its turns are measured.
    pub metrics: Arc<TurnMetrics>,
    /// From the call to the first event.
    pub first_event_timeout: Duration,
    /// Between two events.
    pub stall_timeout: Duration,
    /// Whether its upstream is worth asking.
    pub breaker: Arc<Breaker>,
}

impl Route {
    /// What stands for the model in metrics: its name, if that is of the configuration.
    #[must_use]
    pub fn label(&self) -> &str {
        if self.is_direct { metrics::DIRECT } else { self.model.name.as_str() }
    }
}

/// Every model that can be asked for.
#[derive(Debug)]
pub struct Routes {
    named: HashMap<ModelName, Arc<Route>>,
    order: Vec<ModelName>,
    default: Option<ModelName>,
    allow_direct: bool,
    opened: SystemTime,
    deps: Deps,
}

impl Routes {
    /// Makes a backend for each configured model.
    ///
    /// # Errors
    /// Every wrong setting, with its model.
    pub fn open(deps: Deps) -> Result<Self, Vec<(ModelName, Mistake)>> {
        let mistakes = super::check(&deps.config);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let mut named = HashMap::new();
        let mut order = Vec::new();
        for model in &deps.config.models {
            let Some(kind) = super::kind(&model.backend) else { continue };
            let route = Arc::new(route(model.clone(), kind, false, &deps));
            order.push(model.name.clone());
            named.insert(model.name.clone(), route);
        }
        let routing = &deps.config.routing;
        let allow_direct = deps.config.allows_direct();
        Ok(Self {
            named,
            order,
            default: routing.default.clone(),
            allow_direct,
            opened: SystemTime::now(),
            deps,
        })
    }

    /// The route for what a client asked for: a configured name, a direct form that is allowed or
    /// was discovered, or the default.
    ///
    /// # Errors
    /// `ModelNotFound`, naming what there is.
    pub fn find(&self, asked: Option<&ModelName>) -> Result<Arc<Route>, Failure> {
        let Some(name) = asked else { return self.fallback(None) };
        if let Some(route) = self.named.get(name).or_else(|| self.configured_agent(name)) {
            return Ok(Arc::clone(route));
        }
        match self.direct(name)? {
            Some(route) => Ok(Arc::new(route)),
            None => self.fallback(Some(name)),
        }
    }

    /// What their backends are made with.
    pub(super) fn deps(&self) -> &Deps {
        &self.deps
    }

    /// Since when these routes are open.
    #[must_use]
    pub fn opened(&self) -> SystemTime {
        self.opened
    }

    /// The configured models, in the order of the configuration.
    pub fn configured(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.order.iter().filter_map(|name| self.named.get(name))
    }

    /// The agents that were discovered, in the order of their ids. One that is configured goes by
    /// its configured name and is left out.
    #[must_use]
    pub fn discovered(&self) -> Vec<Arc<FoundAgent>> {
        let found = self.deps.discovery.agents();
        let is_new = |found: &&Arc<FoundAgent>| {
            let both = Some((&*found.agent, &*found.alias));
            !self.configured().any(|route| route.backend.agent() == both)
        };
        found.iter().filter(is_new).cloned().collect()
    }

    /// The discovered agent of this direct name.
    #[must_use]
    pub fn discovered_as(&self, name: &ModelName) -> Option<Arc<FoundAgent>> {
        self.deps.discovery.agent(name)
    }

    /// Bedrock's models that were discovered, in the order of their ids.
    #[must_use]
    pub fn discovered_models(&self) -> Arc<Vec<Arc<FoundModel>>> {
        self.deps.discovery.models()
    }

    /// CodeWhisperer's models that may be asked by their direct names: the service's own choice,
    /// and those that were discovered. One that has the name of a configured model is left out.
    #[must_use]
    pub fn codewhisperer_models(&self) -> Vec<Arc<FoundModel>> {
        let is_wanted = self.allow_direct || self.deps.config.discovery.models;
        if !is_wanted || !codewhisperer::may_direct(&self.deps) {
            return Vec::new();
        }
        let found = self.deps.discovery.codewhisperer();
        let own_choice = found.is_empty().then(|| Arc::new(codewhisperer::own_choice()));
        let found = own_choice.into_iter().chain(found.iter().cloned());
        found.filter(|found| !self.named.contains_key(&found.model)).collect()
    }

    /// The discovered model of this direct name.
    #[must_use]
    pub fn discovered_model(&self, name: &ModelName) -> Option<Arc<FoundModel>> {
        self.deps.discovery.model(name)
    }

    /// The route of just this name, configured or direct, without falling back to another.
    #[must_use]
    pub fn exactly(&self, name: &ModelName) -> Option<Arc<Route>> {
        if let Some(route) = self.named.get(name) {
            return Some(Arc::clone(route));
        }
        self.direct(name).ok().flatten().map(Arc::new)
    }

    /// Everybody who may answer for a model, in the order in which to ask: the members of a
    /// pool, then fallbacks, those who are known to fail last. `stays` is the model that
    /// answered this session before. Not empty.
    #[must_use]
    pub fn candidates(&self, route: &Arc<Route>, stays: Option<&ModelName>) -> Vec<Arc<Route>> {
        if route.model.upstreams.is_empty() && route.model.fallbacks.is_empty() {
            return vec![Arc::clone(route)];
        }
        let mut order = super::pool::candidates(self, route, stays);
        if order.is_empty() {
            order.push(Arc::clone(route));
        }
        order
    }

    /// The configured model whose agent a direct name means, or whose name stands in an agent's
    /// place: clients of the native stream have nowhere else to put it.
    fn configured_agent(&self, name: &ModelName) -> Option<&Arc<Route>> {
        KINDS.iter().find_map(|kind| {
            let rest = kind.behind_prefix(name.as_str())?;
            let mut meant = Model::new(name.clone(), kind.name);
            (kind.direct)(&mut meant, rest).ok()?;
            let agent = meant.agent_id.as_deref()?;
            let both = Some((agent, meant.agent_alias_id.as_deref()?));
            let same = self.configured().find(|route| route.backend.agent() == both);
            same.or_else(|| self.named.get(&agent.parse().ok()?))
        })
    }

    /// Whether a direct name may be asked: all may, or this one was discovered.
    fn allows(&self, name: &ModelName) -> bool {
        let known = &self.deps.discovery;
        self.allow_direct || known.agent(name).is_some() || known.model(name).is_some()
    }

    fn direct(&self, name: &ModelName) -> Result<Option<Route>, Failure> {
        let may_be = |(kind, _): &(&Kind, &str)| self.allows(name) && (kind.may_direct)(&self.deps);
        let Some((kind, rest)) = direct_form(name).filter(may_be) else { return Ok(None) };
        let mut model = Model::new(name.clone(), kind.name);
        let named = (kind.direct)(&mut model, rest);
        let mistake = named.err().or_else(|| (kind.check)(&model).into_iter().next());
        if let Some(mistake) = mistake {
            return Err(Failure::new(FailureKind::ModelNotFound, mistake.message).at("model"));
        }
        Ok(Some(route(model, kind, true, &self.deps)))
    }

    fn fallback(&self, asked: Option<&ModelName>) -> Result<Arc<Route>, Failure> {
        if let Some(name) = &self.default {
            if let Some(route) = self.named.get(name) {
                return Ok(Arc::clone(route));
            }
            if let Ok(Some(route)) = self.direct(name) {
                return Ok(Arc::new(route));
            }
        }
        match (asked, self.order.as_slice()) {
            (None, [only]) => self.named.get(only).cloned().ok_or_else(|| self.unknown(Some(only))),
            _ => Err(self.unknown(asked)),
        }
    }

    fn unknown(&self, asked: Option<&ModelName>) -> Failure {
        let message = match asked {
            Some(name) => {
                format!(
                    "the model {:?} does not exist; GET /v1/models lists those that do",
                    short(name)
                )
            }
            None => "no model was named and there is no default; set \"model\"".to_owned(),
        };
        Failure::new(FailureKind::ModelNotFound, message).at("model")
    }
}

/// Whether a name has a direct form: whether it leads anywhere, its kind says.
pub(super) fn is_direct(name: &ModelName) -> bool {
    direct_form(name).is_some()
}

/// The kind that a direct name means, and what of the name tells the model: what follows the
/// kind's prefix, or all of it where it is an id of Bedrock's own.
fn direct_form(name: &ModelName) -> Option<(&'static Kind, &str)> {
    let name = name.as_str();
    let by_prefix = KINDS.iter().find_map(|kind| Some((kind, kind.behind_prefix(name)?)));
    by_prefix.or_else(|| {
        let bedrock = || KINDS.iter().find(|kind| kind.name == bedrock::KIND.name);
        bedrock::is_model_id(name).then(bedrock).flatten().map(|kind| (kind, name))
    })
}

fn route(model: Model, kind: &'static Kind, is_direct: bool, deps: &Deps) -> Route {
    let turn = &deps.config.turn;
    // Direct names are without bound, labels are not.
    let label = if is_direct { metrics::DIRECT } else { model.name.as_str() };
    Route {
        is_direct,
        kind: kind.name,
        fields: kind.fields,
        backend: (kind.open)(&model, deps),
        metrics: deps.metrics.turn(label, kind.name),
        first_event_timeout: model.first_event_timeout.unwrap_or(turn.first_event_timeout),
        stall_timeout: model.stall_timeout.unwrap_or(turn.stall_timeout),
        breaker: Arc::new(Breaker::new(Habits {
            failures: turn.breaker_failures.get(),
            pause: turn.breaker_pause,
        })),
        model,
    }
}
