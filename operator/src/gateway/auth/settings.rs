//! Settings of who may do what.

use std::path::PathBuf;
use std::time::Duration;

use crate::gateway::settings::duration;

/// Who may send requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Mode {
    /// Everybody who reaches the gateway may do everything.
    None,
    /// Whom the API server knows by their bearer token, as far as its authorisation allows; and API keys.
    Kubernetes,
}

/// Settings of who may do what.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// Who may send requests. The chart sets `kubernetes`; that needs leave to create tokenreviews and
    /// subjectaccessreviews, which a gateway started by hand does not have.
    #[arg(long, env = "LEXISCALE_AUTH", value_enum, default_value_t = Mode::None)]
    pub auth: Mode,

    /// Audience that a bearer token must be made for; may be given several times. Without one, tokens for the
    /// API server are accepted, which a stolen request would let its thief use there too.
    #[arg(long, env = "LEXISCALE_AUTH_AUDIENCE", value_delimiter = ',', value_name = "AUDIENCE")]
    pub auth_audience: Vec<String>,

    /// How long an allowed bearer token is let in again without asking the API server: a right that is withdrawn lasts so
    /// long.
    #[arg(long, env = "LEXISCALE_AUTH_CACHE_TIME", default_value = "60s", value_parser = duration)]
    pub auth_cache_time: Duration,

    /// How long inference goes on for those who were allowed it, by bearer tokens that have not ended, while the API
    /// server gives no judgement; then, and for all that is not inference at once, it is refused. 0s: at once.
    #[arg(long, env = "LEXISCALE_AUTH_OUTAGE_TOLERANCE", default_value = "10m", value_parser = duration)]
    pub auth_outage_tolerance: Duration,

    /// Directory with one file for each API key, named after its id: a mounted Secret. Read again when it changes.
    #[arg(long, env = "LEXISCALE_API_KEYS_DIR", value_name = "DIRECTORY")]
    pub api_keys_dir: Option<PathBuf>,
}
