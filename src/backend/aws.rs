//! How AWS is reached: one warm client a region and endpoint, credentials by the ordinary
//! chain, and whether they work.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_bedrockagentruntime::config::retry::RetryConfig;
use aws_sdk_bedrockagentruntime::config::timeout::TimeoutConfig;
use aws_sdk_bedrockagentruntime::config::{
    Credentials, ProvideCredentials, SharedCredentialsProvider, StalledStreamProtectionConfig,
};

use aws_sdk_bedrockruntime::config::Token;
use aws_smithy_runtime_api::client::auth::http::HTTP_BEARER_AUTH_SCHEME_ID;

use crate::config::{Config, Secret};

use super::codewhisperer::CodeWhispererAccess;
use super::lock;
use super::retry::Budget;
use super::warm::Warmth;

/// The region when neither the configuration nor the AWS environment names one.
const DEFAULT_REGION: &str = "us-east-1";
/// How often the account behind the credentials is asked for.
const HEALTH_EVERY: Duration = Duration::from_secs(300);
/// How soon it is asked for again when that failed.
const HEALTH_AGAIN: Duration = Duration::from_secs(15);
/// What one such question may take.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Characters of an error of AWS that are logged.
const LOGGED: usize = 400;

type AgentClient = aws_sdk_bedrockagentruntime::Client;
type CoreClient = aws_sdk_bedrockagentcore::Client;
type ModelClient = aws_sdk_bedrockruntime::Client;

/// A region and an endpoint, where they differ from the shared ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Place {
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
}

/// A client for Bedrock agents and what all turns through it may spend on retries.
#[derive(Debug, Clone)]
pub(super) struct AgentAccess {
    pub(super) client: AgentClient,
    pub(super) budget: Arc<Budget>,
    pub(super) warmth: Arc<Warmth>,
}

/// A client for AgentCore and what all turns through it may spend on retries.
#[derive(Debug, Clone)]
pub(super) struct CoreAccess {
    pub(super) client: CoreClient,
    pub(super) budget: Arc<Budget>,
    pub(super) warmth: Arc<Warmth>,
}

/// A region, an endpoint and a key, where they differ from the shared ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ModelPlace {
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    /// A Bedrock API key, in place of AWS credentials.
    pub(super) api_key: Option<Secret>,
}

/// A client for Bedrock's models and what all turns through it may spend on retries.
#[derive(Debug, Clone)]
pub(super) struct ModelAccess {
    pub(super) client: ModelClient,
    pub(super) budget: Arc<Budget>,
    pub(super) warmth: Arc<Warmth>,
}

/// AWS clients that live as long as the process.
pub struct AwsClients {
    shared: SdkConfig,
    agents: Mutex<Vec<(Place, AgentAccess)>>,
    cores: Mutex<Vec<(Place, CoreAccess)>>,
    models: Mutex<Vec<(ModelPlace, ModelAccess)>>,
    codewhisperer: OnceLock<Arc<CodeWhispererAccess>>,
    health: ArcSwapOption<AwsHealth>,
}

/// Clients for the service that signs people in, which asks for no credentials.
#[derive(Clone)]
pub(super) struct SsoClients(SdkConfig);

impl fmt::Debug for SsoClients {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SsoClients").finish_non_exhaustive()
    }
}

impl SsoClients {
    /// A client in a region. It is asked seldom, so none is kept.
    pub(super) fn at(&self, region: &str) -> aws_sdk_ssooidc::Client {
        let builder = aws_sdk_ssooidc::config::Builder::from(&self.0);
        aws_sdk_ssooidc::Client::from_conf(builder.region(Region::new(region.to_owned())).build())
    }
}

/// What is known of the credentials.
#[derive(Debug, Clone)]
pub struct AwsHealth {
    /// The account they belong to, once STS has said it.
    pub account: Option<String>,
    /// Why they cannot be used, for the operator.
    pub error: Option<&'static str>,
}

impl fmt::Debug for AwsClients {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AwsClients").finish_non_exhaustive()
    }
}

impl AwsClients {
    /// Reads the AWS environment and the profile files. Opens no connection.
    pub async fn load(config: &Config) -> Self {
        // Stalled-stream protection would kill an agent that thinks; retries of the SDK take up
        // to two seconds and count for nobody. Both are ours: the pump's timers and `retry`.
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder().connect_timeout(config.turn.connect_timeout).build(),
            );
        if let Some(region) = &config.aws.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &config.aws.endpoint_url {
            loader = loader.endpoint_url(endpoint);
        }
        let mut shared = loader.load().await;
        if shared.region().is_none() {
            shared = shared.into_builder().region(Region::from_static(DEFAULT_REGION)).build();
        }
        Self::sharing(shared)
    }

    /// Clients for an emulator, without a look at the AWS environment.
    #[must_use]
    pub fn emulated(endpoint: &str) -> Self {
        let credentials = Credentials::new("emulated", "emulated", None, None, "emulator");
        let shared = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static(DEFAULT_REGION))
            .endpoint_url(endpoint)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(RetryConfig::disabled())
            .build();
        Self::sharing(shared)
    }

    fn sharing(shared: SdkConfig) -> Self {
        Self {
            shared,
            agents: Mutex::default(),
            cores: Mutex::default(),
            models: Mutex::default(),
            codewhisperer: OnceLock::new(),
            health: ArcSwapOption::empty(),
        }
    }

    /// The client for Bedrock agents in a place, made at the first asking.
    pub(super) fn agents(&self, place: &Place) -> AgentAccess {
        let mut agents = lock(&self.agents);
        if let Some((_, access)) = agents.iter().find(|(known, _)| known == place) {
            return access.clone();
        }
        let mut builder = aws_sdk_bedrockagentruntime::config::Builder::from(&self.shared);
        if let Some(region) = &place.region {
            builder = builder.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &place.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        let access = AgentAccess {
            client: AgentClient::from_conf(builder.build()),
            budget: Arc::default(),
            warmth: Arc::default(),
        };
        agents.push((place.clone(), access.clone()));
        access
    }

    /// The client for AgentCore in a place, made at the first asking.
    pub(super) fn agentcore(&self, place: &Place) -> CoreAccess {
        let mut cores = lock(&self.cores);
        if let Some((_, access)) = cores.iter().find(|(known, _)| known == place) {
            return access.clone();
        }
        let mut builder = aws_sdk_bedrockagentcore::config::Builder::from(&self.shared);
        if let Some(region) = &place.region {
            builder = builder.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &place.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        let access = CoreAccess {
            client: CoreClient::from_conf(builder.build()),
            budget: Arc::default(),
            warmth: Arc::default(),
        };
        cores.push((place.clone(), access.clone()));
        access
    }

    /// A client for the control plane of Bedrock agents in a region. It has connections of its
    /// own: who asks often keeps it.
    pub(super) fn control_plane(&self, region: &str) -> aws_sdk_bedrockagent::Client {
        let builder = aws_sdk_bedrockagent::config::Builder::from(&self.shared);
        let region = Region::new(region.to_owned());
        aws_sdk_bedrockagent::Client::from_conf(builder.region(region).build())
    }

    /// A client for the catalogue of Bedrock's models in a region, with connections of its own
    /// too.
    pub(super) fn catalogue(&self, region: &str) -> aws_sdk_bedrock::Client {
        let builder = aws_sdk_bedrock::config::Builder::from(&self.shared);
        let region = Region::new(region.to_owned());
        aws_sdk_bedrock::Client::from_conf(builder.region(region).build())
    }

    /// The client for Bedrock's models in a place, made at the first asking.
    pub(super) fn models(&self, place: &ModelPlace) -> ModelAccess {
        let mut models = lock(&self.models);
        if let Some((_, access)) = models.iter().find(|(known, _)| known == place) {
            return access.clone();
        }
        // Takes a key from `AWS_BEARER_TOKEN_BEDROCK` by itself.
        let mut builder = aws_sdk_bedrockruntime::config::Builder::from(&self.shared);
        if let Some(region) = &place.region {
            builder = builder.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &place.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        if let Some(key) = &place.api_key {
            builder = builder
                .bearer_token(Token::new(key.expose(), None))
                .auth_scheme_preference([HTTP_BEARER_AUTH_SCHEME_ID]);
        }
        let access = ModelAccess {
            client: ModelClient::from_conf(builder.build()),
            budget: Arc::default(),
            warmth: Arc::default(),
        };
        models.push((place.clone(), access.clone()));
        access
    }

    /// How CodeWhisperer is reached, with the sign-in of the configuration; one for all models,
    /// made at the first asking.
    #[must_use]
    pub fn codewhisperer(&self, config: &Config) -> &Arc<CodeWhispererAccess> {
        self.codewhisperer.get_or_init(|| Arc::new(CodeWhispererAccess::new(config, self)))
    }

    /// Clients for the service that signs people in.
    pub(super) fn sso(&self) -> SsoClients {
        SsoClients(self.shared.clone())
    }

    /// The endpoint that stands in for every service of AWS, where there is one.
    pub(super) fn endpoint(&self) -> Option<&str> {
        self.shared.endpoint_url()
    }

    /// The region in force where a model names none.
    #[must_use]
    pub fn region(&self) -> &str {
        self.shared.region().map_or(DEFAULT_REGION, AsRef::as_ref)
    }

    /// What was last learnt of the credentials; `None` before the first answer.
    #[must_use]
    pub fn health(&self) -> Option<Arc<AwsHealth>> {
        self.health.load_full()
    }

    /// Keeps [`health`](Self::health) fresh until dropped.
    pub async fn watch(&self) {
        let sts = aws_sdk_sts::Client::new(&self.shared);
        loop {
            let health = self.ask(&sts).await;
            let wait = if health.account.is_some() { HEALTH_EVERY } else { HEALTH_AGAIN };
            self.health.store(Some(Arc::new(health)));
            tokio::time::sleep(wait).await;
        }
    }

    async fn ask(&self, sts: &aws_sdk_sts::Client) -> AwsHealth {
        if let Some(error) = self.credentials_error().await {
            return AwsHealth { account: None, error: Some(error) };
        }
        let asked = tokio::time::timeout(HEALTH_TIMEOUT, sts.get_caller_identity().send()).await;
        match asked {
            Ok(Ok(identity)) => AwsHealth { account: identity.account, error: None },
            // A role without `sts:GetCallerIdentity`, or STS out of reach from a closed network,
            // does not mean that agents cannot be called.
            Ok(Err(error)) => {
                tracing::debug!(error = %aws_error(&error), "sts did not name the account");
                AwsHealth { account: None, error: None }
            }
            Err(_) => AwsHealth { account: None, error: None },
        }
    }

    async fn credentials_error(&self) -> Option<&'static str> {
        let Some(provider) = self.shared.credentials_provider() else {
            return Some("no credentials provider");
        };
        let found = tokio::time::timeout(HEALTH_TIMEOUT, provider.provide_credentials()).await;
        match found {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => {
                tracing::warn!(error = %aws_error(&error), "no AWS credentials");
                Some("no AWS credentials were found")
            }
            Err(_) => Some("looking for AWS credentials took too long"),
        }
    }
}

/// An error of the SDK with its causes, for logs. Its `Debug` form would bring the whole reply.
pub(super) fn aws_error(error: &(dyn std::error::Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !told.ends_with(&said) {
            told.push_str(": ");
            told.push_str(&said);
        }
        cause = error.source();
    }
    // A refusal may quote what was asked.
    if let Some((end, _)) = told.char_indices().nth(LOGGED) {
        told.truncate(end);
        told.push('…');
    }
    told
}
