//! What is made of files, made anew when they change. Files that are not usable leave the old one where it is.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::files::Contents;
use super::{Credentials, Error, Files};

const EVERY: Duration = Duration::from_secs(5);
/// Before its end a certificate is complained about, so often.
const NEAR_END: Duration = Duration::from_hours(7 * 24);
const COMPLAIN_EVERY: Duration = Duration::from_hours(12);

/// The current one, and how to make the next.
pub struct Reloading<T> {
    files: Files,
    make: Box<dyn Fn(Credentials) -> Result<T, Error> + Send + Sync>,
    /// Hears the second in which each certificate ends that is put to use.
    ends: Box<dyn Fn(i64) + Send + Sync>,
    current: watch::Sender<Loaded<T>>,
}

struct Loaded<T> {
    made: Arc<T>,
    ends: Timestamp,
    digest: [u8; 32],
}

/// What a look at the files brought.
#[derive(Debug)]
pub enum Renewal {
    /// They are as they were.
    Unchanged,
    /// A new certificate is in use.
    Renewed,
    /// The old one stays. The digest, where all files could be read, tells one refusal from the next.
    Refused(Error, Option<[u8; 32]>),
}

impl<T: Send + Sync + 'static> Reloading<T> {
    /// Fails where there is no usable certificate to begin with.
    pub async fn load(
        files: Files,
        make: impl Fn(Credentials) -> Result<T, Error> + Send + Sync + 'static,
        ends: impl Fn(i64) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let contents = read(&files).await?;
        let first = loaded(&files, &make, &contents)?;
        ends(first.ends.as_second());
        tracing::info!(file = %files.cert.display(), ends = %first.ends, "using a certificate");
        Ok(Self { files, make: Box::new(make), ends: Box::new(ends), current: watch::Sender::new(first) })
    }

    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.borrow().made)
    }

    /// Looks at the files again and again.
    pub async fn follow(&self, ended: CancellationToken) {
        let mut complained: Option<Instant> = None;
        let mut told = Told::default();
        while ended.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            let file = self.files.cert.display();
            if let Some(error) = told.news(self.renew().await) {
                tracing::error!(%file, "the old certificate stays: {}", chain(&error));
            }
            let ends = self.current.borrow().ends;
            if is_near(ends, Timestamp::now()) && complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
                tracing::warn!(%file, %ends, "the certificate ends soon, or has ended");
                complained = Some(Instant::now());
            }
        }
    }

    /// Looks at the files once.
    pub async fn renew(&self) -> Renewal {
        let contents = match read(&self.files).await {
            Ok(contents) => contents,
            Err(error) => return Renewal::Refused(error, None),
        };
        if contents.digest == self.current.borrow().digest {
            return Renewal::Unchanged;
        }
        match loaded(&self.files, &self.make, &contents) {
            Ok(next) => {
                tracing::info!(file = %self.files.cert.display(), ends = %next.ends, "using a new certificate");
                (self.ends)(next.ends.as_second());
                self.current.send_replace(next);
                Renewal::Renewed
            }
            Err(error) => Renewal::Refused(error, Some(contents.digest)),
        }
    }
}

/// What was said last about files that are not usable: each problem is said once for as long as it lasts.
#[derive(Debug, Default, PartialEq)]
enum Told {
    #[default]
    Nothing,
    Unreadable,
    Refused([u8; 32]),
}

impl Told {
    /// The error, where it is to be said.
    fn news(&mut self, renewal: Renewal) -> Option<Error> {
        let (now, error) = match renewal {
            Renewal::Unchanged | Renewal::Renewed => (Self::Nothing, None),
            Renewal::Refused(error, None) => (Self::Unreadable, Some(error)),
            Renewal::Refused(error, Some(digest)) => (Self::Refused(digest), Some(error)),
        };
        let is_new = *self != now;
        *self = now;
        error.filter(|_| is_new)
    }
}

async fn read(files: &Files) -> Result<Contents, Error> {
    let files = files.clone();
    tokio::task::spawn_blocking(move || files.read()).await.map_err(std::io::Error::other)?
}

fn loaded<T>(
    files: &Files,
    make: impl Fn(Credentials) -> Result<T, Error>,
    contents: &Contents,
) -> Result<Loaded<T>, Error> {
    let credentials = files.parse(contents)?;
    let ends = credentials.ends;
    Ok(Loaded { made: Arc::new(make(credentials)?), ends, digest: contents.digest })
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Also when it is over.
fn is_near(ends: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(ends.duration_since(now)).unwrap_or_default() < NEAR_END
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is broken again must be seen again, and what stays broken must not fill the log.
    #[test]
    fn a_problem_is_told_once_for_as_long_as_it_lasts() {
        let refused =
            |digest: Option<u8>| Renewal::Refused(Error::NoAuthority, digest.map(|byte| [byte; 32]));
        let mut told = Told::default();
        for (renewal, is_told) in [
            (Renewal::Unchanged, false),
            (refused(Some(1)), true),
            (refused(Some(1)), false),
            (refused(Some(2)), true),
            (refused(None), true),
            (refused(None), false),
            (refused(Some(2)), true),
            (Renewal::Renewed, false),
            (refused(Some(2)), true),
            (Renewal::Unchanged, false),
            (refused(None), true),
        ] {
            let said = format!("{renewal:?}");
            assert_eq!(told.news(renewal).is_some(), is_told, "{said}");
        }
    }

    #[test]
    fn a_week_before_its_end_a_certificate_is_complained_about() {
        let ends: Timestamp = "2026-01-08T00:00:00Z".parse().unwrap();
        for (now, expected) in
            [("2026-01-01T00:00:00Z", false), ("2026-01-01T00:00:01Z", true), ("2027-01-01T00:00:00Z", true)]
        {
            assert_eq!(is_near(ends, now.parse().unwrap()), expected, "{now}");
        }
    }
}
