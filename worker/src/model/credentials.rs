//! Credentials for a source, from the Secret that is mounted into the download's pod and nowhere else: one file for each key.

use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fs_err::File;
use http::HeaderValue;
use serde::Deserialize;

/// No token and no key is longer; a larger file is something else.
const MAX_BYTES: u64 = 64 * 1024;

/// Printed nowhere, not even for debugging.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("hidden")
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Of a hub or a web server.
    pub token: Option<Hidden>,
    pub user: Option<(Hidden, Hidden)>,
    pub s3: Option<S3Keys>,
    pub region: Option<String>,
    /// Certificates in PEM. With them, no others are trusted.
    pub authority: Option<String>,
    /// As `kubectl create secret docker-registry` makes it.
    docker: Option<Hidden>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Keys {
    pub id: Hidden,
    pub secret: Hidden,
    pub session: Option<Hidden>,
}

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("failed to read the Secret's files in {folder}")]
    Read {
        folder: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "the Secret that storage.secretName names is not there, or has none of the keys token, username and password, \
         AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, .dockerconfigjson, ca.crt"
    )]
    Nothing,
}

impl Credentials {
    pub fn of_token(token: Hidden) -> Self {
        Self { token: Some(token), ..Self::default() }
    }

    pub fn read(folder: &Path) -> Result<Self, CredentialsError> {
        let read = |names: &[&str]| -> Result<Option<Hidden>, CredentialsError> {
            for name in names {
                let fail = |source| CredentialsError::Read { folder: folder.display().to_string(), source };
                match File::open(folder.join(name)) {
                    Ok(file) => {
                        let mut text = String::new();
                        file.take(MAX_BYTES).read_to_string(&mut text).map_err(fail)?;
                        if let Some(hidden) = Hidden::new(&text) {
                            return Ok(Some(hidden));
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(fail(error)),
                }
            }
            Ok(None)
        };
        let id = read(&["AWS_ACCESS_KEY_ID", "accessKeyId"])?;
        let secret = read(&["AWS_SECRET_ACCESS_KEY", "secretAccessKey"])?;
        let session = read(&["AWS_SESSION_TOKEN", "sessionToken"])?;
        let found = Self {
            token: read(&["token", "HF_TOKEN"])?,
            user: read(&["username"])?.zip(read(&["password"])?),
            s3: id.zip(secret).map(|(id, secret)| S3Keys { id, secret, session }),
            region: read(&["AWS_REGION", "region"])?.map(|region| region.0),
            authority: read(&["ca.crt"])?.map(|pem| pem.0),
            docker: read(&[".dockerconfigjson"])?,
        };
        let Self { token, user, s3, region: _, authority, docker } = &found;
        if token.is_none() && user.is_none() && s3.is_none() && authority.is_none() && docker.is_none() {
            return Err(CredentialsError::Nothing);
        }
        Ok(found)
    }

    /// For the `Authorization` header: the token, else user and password.
    pub fn authorization(&self) -> Option<HeaderValue> {
        match (&self.token, &self.user) {
            (Some(Hidden(token)), _) => bearer(token),
            (None, Some((Hidden(user), Hidden(password)))) => basic(user, password),
            (None, None) => None,
        }
    }

    /// User and password for a registry, as a basic authorization.
    pub fn of_registry(&self, registry: &str) -> Option<HeaderValue> {
        if let Some((Hidden(user), Hidden(password))) = &self.user {
            return basic(user, password);
        }
        let config: DockerConfig = serde_json::from_str(self.docker.as_ref()?.reveal()).ok()?;
        let named = |server: &str| {
            let server = server.trim_start_matches("https://").trim_start_matches("http://");
            server.split('/').next() == Some(registry)
        };
        let DockerServer { auth, username, password } =
            config.auths.into_iter().find(|(server, _)| named(server))?.1;
        match (auth, username, password) {
            (Some(auth), _, _) => hidden_value(&format!("Basic {auth}")),
            (None, Some(user), Some(password)) => basic(&user, &password),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: std::collections::BTreeMap<String, DockerServer>,
}

#[derive(Deserialize)]
struct DockerServer {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

pub fn bearer(token: &str) -> Option<HeaderValue> {
    hidden_value(&format!("Bearer {token}"))
}

fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    hidden_value(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

fn hidden_value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(files: &[(&str, &str)]) -> Result<Credentials, CredentialsError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs_err::write(folder.path().join(name), text).unwrap();
        }
        Credentials::read(folder.path())
    }

    fn shown(value: Option<HeaderValue>) -> String {
        value.unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn nothing_secret_is_printed() {
        let credentials = secret(&[
            ("token", "canary\n"),
            ("username", "canary"),
            ("password", "canary"),
            ("AWS_ACCESS_KEY_ID", "canary"),
            ("AWS_SECRET_ACCESS_KEY", "canary"),
            (".dockerconfigjson", "{\"auths\":{\"canary\":{}}}"),
        ])
        .unwrap();
        assert!(!format!("{credentials:?} {:?}", credentials.authorization()).contains("canary"));
    }

    #[test]
    fn each_kind_of_secret_is_known_by_its_keys() {
        assert_eq!(shown(secret(&[("HF_TOKEN", "t\n")]).unwrap().authorization()), "Bearer t");
        let user = secret(&[("username", "u"), ("password", "p")]).unwrap();
        assert_eq!(shown(user.authorization()), "Basic dTpw");
        assert_eq!(shown(user.of_registry("any.example")), "Basic dTpw");
        let docker = r#"{"auths":{"https://reg.example/v1/":{"auth":"dTpw"},"other.example":{"username":"u","password":"p"}}}"#;
        let docker = secret(&[(".dockerconfigjson", docker)]).unwrap();
        assert_eq!(shown(docker.of_registry("reg.example")), "Basic dTpw");
        assert_eq!(shown(docker.of_registry("other.example")), "Basic dTpw");
        assert_eq!(docker.of_registry("third.example"), None);
        let keys = secret(&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_REGION", "r")]);
        assert_eq!(keys.unwrap().region.as_deref(), Some("r"));
    }

    /// A Secret that somebody forgot to make must not look like a model that does not exist.
    #[test]
    fn a_secret_without_credentials_is_told() {
        for files in [&[][..], &[("token", " \n")], &[("AWS_ACCESS_KEY_ID", "alone")], &[("other", "x")]] {
            assert!(matches!(secret(files), Err(CredentialsError::Nothing)), "{files:?}");
        }
    }
}
