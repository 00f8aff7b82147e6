//! Fetching one revision of a git repository with the git program.
//!
//! A checkout is the files of one commit without the repository around them. Nothing of the machine's git
//! configuration takes part, so that two pipelines see the same bytes. Submodules and large file storage are not
//! followed. Everything that reaches git's command line is checked here first: no value can become an option, and only
//! the transports of [`GitUrl`] are ever started.

use std::fmt;
use std::path::{Path, PathBuf};

use tokio::process::Command;
use url::Url;

use crate::build_log::BuildLog;
use crate::config::LocalSources;
use crate::process::{self, ProcessError, Stdout};
use crate::program::environment;

const MAX_URL_CHARS: usize = 2048;
const MAX_REF_CHARS: usize = 255;

#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("the git url {url:?} is refused: {problem}")]
    Url { url: String, problem: &'static str },
    #[error("{0:?} is no git tag")]
    Tag(String),
    #[error("{0:?} is no git commit: it has 40 (or 64) hex digits")]
    Commit(String),
    #[error("{0:?} is no path inside the repository")]
    Path(String),
    #[error("the source repository needs a tag or a commit")]
    NoRevision,
    #[error("cannot fetch {revision} of {location}")]
    Fetch {
        revision: String,
        location: String,
        #[source]
        source: ProcessError,
    },
    #[error("git failed")]
    Process(#[from] ProcessError),
    #[error("{location} has no tag {tag}")]
    NoTag { location: String, tag: String },
    #[error("the tag {tag} moved from commit {from} to {to} in {location}")]
    TagMoved { location: String, tag: String, from: String, to: String },
    #[error("{location} gave commit {got} for commit {wanted}")]
    OtherCommit { location: String, wanted: String, got: String },
    #[error("cannot prepare the checkout")]
    Io(#[from] std::io::Error),
    #[error("git gave an answer that cannot be read: {0:?}")]
    Answer(String),
}

/// Where a repository is; only made by [`GitUrl::parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GitUrl(String);

impl GitUrl {
    pub(crate) fn parse(text: &str, local: LocalSources) -> Result<Self, GitError> {
        let refuse = |problem| Err(GitError::Url { url: without_password(text), problem });
        if text.len() > MAX_URL_CHARS || text.chars().any(char::is_control) {
            return refuse("it is too long or has control characters");
        }
        if text.starts_with('-') {
            return refuse("it starts with a dash");
        }
        let is_local = Path::new(text).is_absolute();
        let url = if is_local { None } else { Url::parse(text).ok() };
        match url.as_ref().map(Url::scheme) {
            Some("https" | "http" | "ssh" | "git") => {
                let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
                let user = url.as_ref().map(Url::username).unwrap_or_default();
                if host.is_empty() || host.starts_with('-') || user.starts_with('-') {
                    return refuse("it has no host");
                }
            }
            Some("file") => {}
            None if is_local => {}
            _ => return refuse("use https, http, ssh, git, or file with an absolute path"),
        }
        let is_local = is_local || url.as_ref().is_some_and(|url| url.scheme() == "file");
        if is_local && local == LocalSources::Refused {
            return refuse("this pipeline does not build from its own disk (--allow-local-sources true)");
        }
        // Git gets the url as it was understood here, so that the two cannot read it differently.
        Ok(Self(url.map_or_else(|| text.to_owned(), String::from)))
    }
}

/// Without the password, for logs and records.
impl fmt::Display for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

fn without_password(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.password().is_some() || (!url.username().is_empty() && url.scheme() != "ssh") => {
            let cleared = url.set_username("").and_then(|()| url.set_password(None));
            if cleared.is_ok() { url.into() } else { "a url with a password".to_owned() }
        }
        _ => text.to_owned(),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Revision {
    Tag(String),
    Commit(String),
    /// A tag that has to be on this commit.
    Pinned {
        tag: String,
        commit: String,
    },
}

impl Revision {
    pub(crate) fn new(tag: Option<&str>, commit: Option<&str>) -> Result<Self, GitError> {
        match (tag.map(checked_tag).transpose()?, commit.map(checked_commit).transpose()?) {
            (Some(tag), Some(commit)) => Ok(Self::Pinned { tag, commit }),
            (Some(tag), None) => Ok(Self::Tag(tag)),
            (None, Some(commit)) => Ok(Self::Commit(commit)),
            (None, None) => Err(GitError::NoRevision),
        }
    }

    pub(crate) fn tag(&self) -> Option<&str> {
        match self {
            Self::Tag(tag) | Self::Pinned { tag, .. } => Some(tag),
            Self::Commit(_) => None,
        }
    }

    fn commit(&self) -> Option<&str> {
        match self {
            Self::Commit(commit) | Self::Pinned { commit, .. } => Some(commit),
            Self::Tag(_) => None,
        }
    }
}

fn checked_commit(commit: &str) -> Result<String, GitError> {
    let well_formed = matches!(commit.len(), 40 | 64) && commit.bytes().all(|b| b.is_ascii_hexdigit());
    if well_formed { Ok(commit.to_ascii_lowercase()) } else { Err(GitError::Commit(commit.to_owned())) }
}

/// git-check-ref-format(1)
fn checked_tag(tag: &str) -> Result<String, GitError> {
    let refused = tag.is_empty()
        || tag.len() > MAX_REF_CHARS
        || tag.starts_with(['-', '/', '.'])
        || tag.ends_with(['/', '.'])
        || tag.ends_with(".lock")
        || ["..", "//", "/.", "@{", ".lock/"].iter().any(|part| tag.contains(part))
        || tag.chars().any(|c| c.is_control() || " ~^:?*[\\".contains(c));
    if refused { Err(GitError::Tag(tag.to_owned())) } else { Ok(tag.to_owned()) }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Revision::Tag(tag) => write!(f, "tag {tag}"),
            Revision::Commit(commit) => write!(f, "commit {commit}"),
            Revision::Pinned { tag, commit } => write!(f, "tag {tag} at commit {commit}"),
        }
    }
}

/// Checks a path that has to stay below the root of a repository; `.` is the root itself.
pub(crate) fn relative_path(path: &str) -> Result<PathBuf, GitError> {
    use std::path::Component;
    let refused = path.is_empty()
        || path.starts_with('-')
        || path.chars().any(char::is_control)
        || Path::new(path).components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir));
    if refused { Err(GitError::Path(path.to_owned())) } else { Ok(PathBuf::from(path)) }
}

/// The files of a commit on disk.
#[derive(Debug)]
pub(crate) struct Checkout {
    pub(crate) root: PathBuf,
    pub(crate) commit: String,
    pub(crate) tree: String,
    /// When it was committed, in unix seconds: the SOURCE_DATE_EPOCH of what is built from it.
    pub(crate) committed_at: u64,
}

/// Fetches the revision into `root`, which must not exist.
pub(crate) async fn checkout(
    url: &GitUrl,
    revision: &Revision,
    root: &Path,
    local: LocalSources,
    log: &BuildLog,
) -> Result<Checkout, GitError> {
    tokio::fs::create_dir_all(root).await?;
    let git = Git { folder: root, local, log };
    let commit = git.fetch(url, revision, Extent::Files).await?;
    git.run(&["checkout", "--quiet", "--force", "--detach", &commit], Stdout::Log).await?;
    let tree = git.run(&["rev-parse", "--verify", "HEAD^{tree}"], Stdout::Answer).await?;
    let committed_at = git.run(&["show", "--no-patch", "--format=%ct", "HEAD"], Stdout::Answer).await?;
    let committed_at = committed_at.parse::<i64>().map_err(|_| GitError::Answer(committed_at))?.max(0) as u64;
    if tokio::fs::try_exists(root.join(".gitmodules")).await? {
        log.line("note: submodules are not fetched");
    }
    // What git keeps of itself differs from clone to clone and is no part of the source.
    tokio::fs::remove_dir_all(root.join(".git")).await?;
    Ok(Checkout { root: root.to_owned(), commit, tree, committed_at })
}

/// What a revision is right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) commit: String,
    pub(crate) tree: String,
}

/// Finds out which commit the revision is, in `root`, which must not exist. Of a server that can leave them out, no files are
/// fetched.
pub(crate) async fn resolve(url: &GitUrl, revision: &Revision, root: &Path, local: LocalSources) -> Result<Resolved, GitError> {
    tokio::fs::create_dir_all(root).await?;
    let log = BuildLog::discarded();
    let git = Git { folder: root, local, log: &log };
    let commit = git.fetch(url, revision, Extent::CommitOnly).await?;
    // Unlike rev-parse, this looks for no tree, which may not be here.
    let tree = git.run(&["show", "--no-patch", "--format=%T", &commit, "--"], Stdout::Answer).await?;
    Ok(Resolved { commit, tree })
}

/// What is fetched of a commit.
#[derive(Debug, Clone, Copy)]
enum Extent {
    Files,
    CommitOnly,
}

/// The git program in one folder.
struct Git<'a> {
    folder: &'a Path,
    local: LocalSources,
    log: &'a BuildLog,
}

impl Git<'_> {
    /// Fetches a revision into a repository that is made here, and returns its commit.
    async fn fetch(&self, url: &GitUrl, revision: &Revision, extent: Extent) -> Result<String, GitError> {
        let location = || url.to_string();
        let failed = |source| GitError::Fetch { revision: revision.to_string(), location: location(), source };
        let filter: &[&str] = match extent {
            Extent::Files => &[],
            Extent::CommitOnly => &["--filter=tree:0"],
        };
        self.run(&["init", "--quiet", "."], Stdout::Log).await?;
        let shallow = async |what: &str| {
            let arguments = [&["fetch", "--quiet", "--depth=1", "--no-tags"], filter, &["--", &url.0, what]].concat();
            self.run(&arguments, Stdout::Log).await
        };
        let wanted = match (revision.tag(), revision.commit()) {
            (Some(tag), _) => {
                if let Err(error) = shallow(&format!("refs/tags/{tag}")).await {
                    let is_missing = self.lacks_tag(url, tag).await;
                    let missing = || GitError::NoTag { location: location(), tag: tag.to_owned() };
                    return Err(if is_missing { missing() } else { failed(error) });
                }
                "FETCH_HEAD^{commit}".to_owned()
            }
            (None, Some(commit)) => {
                if shallow(commit).await.is_err() {
                    // Servers may refuse to give a commit that no branch points at; then it is somewhere in a branch or tag.
                    self.log.line("the commit cannot be fetched alone, fetching all branches and tags");
                    let all = ["--", &url.0, "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
                    self.run(&[&["fetch", "--quiet"], filter, &all].concat(), Stdout::Log).await.map_err(failed)?;
                }
                format!("{commit}^{{commit}}")
            }
            (None, None) => return Err(GitError::NoRevision),
        };
        let arguments = ["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted];
        let got = self.run(&arguments, Stdout::Answer).await.map_err(failed)?;
        match revision {
            Revision::Commit(wanted) if *wanted != got => {
                Err(GitError::OtherCommit { location: location(), wanted: wanted.clone(), got })
            }
            Revision::Pinned { tag, commit } if *commit != got => {
                Err(GitError::TagMoved { location: location(), tag: tag.clone(), from: commit.clone(), to: got })
            }
            _ => Ok(got),
        }
    }

    /// Whether the repository answers and has no such tag.
    async fn lacks_tag(&self, url: &GitUrl, tag: &str) -> bool {
        /// What `git ls-remote --exit-code` ends with when nothing matches (git-ls-remote(1)).
        const NOTHING_MATCHES: i32 = 2;
        let refspec = format!("refs/tags/{tag}");
        let listed = self.run(&["ls-remote", "--quiet", "--exit-code", "--", &url.0, &refspec], Stdout::Answer).await;
        matches!(listed, Err(ProcessError::Failed { status, .. }) if status.code() == Some(NOTHING_MATCHES))
    }

    async fn run(&self, arguments: &[&str], stdout: Stdout) -> Result<String, ProcessError> {
        let mut command = command(self.folder, self.local);
        command.args(arguments);
        process::run(command, stdout, self.log).await.map(|answer| answer.trim().to_owned())
    }
}

fn command(folder: &Path, local: LocalSources) -> Command {
    let mut command = Command::new("git");
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
    let protocols = match local {
        LocalSources::Allowed => "https:http:ssh:git:file",
        LocalSources::Refused => "https:http:ssh:git",
    };
    command
        .env("PATH", environment::search_path())
        .env("GIT_ALLOW_PROTOCOL", protocols)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "true")
        .env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("LC_ALL", "C")
        .args(["-c", "core.autocrlf=false", "-c", "core.symlinks=true", "-c", "core.fileMode=true"])
        .args(["-c", "core.hooksPath=/dev/null", "-c", "init.defaultBranch=main", "-c", "advice.detachedHead=false"])
        .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "submodule.recurse=false"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_could_be_an_option_or_a_program_reaches_git() {
        for url in [
            "--upload-pack=touch /tmp/x",
            "-u",
            "ext::sh -c touch% /tmp/x",
            "https://-oProxyCommand=x/y",
            "fd::17",
            "ssh://-oProxyCommand=x/y",
            "relative/path",
            "user@host:path",
            "https://a\n/b",
            "ftp://a/b",
        ] {
            assert!(GitUrl::parse(url, LocalSources::Allowed).is_err(), "{url:?}");
        }
        for tag in ["", "-x", "--force", "a..b", "a b", "a:b", "/a", "a.lock", "a^{}", "a\nb", "@{1}"] {
            assert!(Revision::new(Some(tag), None).is_err(), "{tag:?}");
        }
        for commit in ["", "HEAD", "abc", "--all", &"g".repeat(40)] {
            assert!(Revision::new(None, Some(commit)).is_err(), "{commit:?}");
        }
        for path in ["", "/etc", "../x", "a/../../b", "-f", "a\0b"] {
            assert!(relative_path(path).is_err(), "{path:?}");
        }
        assert!(relative_path(".").is_ok() && relative_path("a/b.c").is_ok());
        assert!(Revision::new(Some("rel/commons-codec-1.15"), None).is_ok());
        let commit = "C0".repeat(20);
        assert!(Revision::new(Some("--upload-pack=x"), Some(&commit)).is_err(), "a tag beside a commit is fetched too");
        let both = Revision::new(Some("v1"), Some(&commit)).unwrap();
        assert_eq!(both, Revision::Pinned { tag: "v1".into(), commit: commit.to_ascii_lowercase() });
    }

    #[test]
    fn local_repositories_need_permission() {
        for url in ["/srv/git/a", "file:///srv/git/a"] {
            assert!(GitUrl::parse(url, LocalSources::Allowed).is_ok());
            assert!(GitUrl::parse(url, LocalSources::Refused).unwrap_err().to_string().contains("--allow-local-sources"));
        }
        assert!(GitUrl::parse("https://git.example/a.git", LocalSources::Refused).is_ok());
    }

    #[test]
    fn a_password_never_shows() {
        let url = GitUrl::parse("https://me:secret@git.example/a.git", LocalSources::Refused).unwrap();
        assert_eq!(url.to_string(), "https://git.example/a.git");
        let refused = GitUrl::parse("ftp://me:secret@git.example/a", LocalSources::Refused).unwrap_err();
        assert!(!refused.to_string().contains("secret"));
    }
}
