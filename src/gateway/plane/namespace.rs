//! Network namespaces: one for each instance, named `sitepeer-<instance>` under `/run/netns`, where `ip netns` sees it too.
//!
//! A thread that entered a namespace never leaves it: whatever has to happen inside runs on a thread of its own, which ends
//! afterwards. A worker of the runtime never changes its namespace. Descriptors opened inside (TUN, netlink) work anywhere.
//!
//! Whose a namespace is stands on its loopback as an alias, written before the namespace has a name: there is no moment at which
//! one of ours is not marked.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::PlaneError;
use super::links::Links;
use super::trouble::Doing;
use crate::api::InstanceId;

/// Where namespaces have names: the folder of `ip netns`.
const FOLDER: &str = "/run/netns";
/// What our namespaces' names begin with.
const PREFIX: &str = "sitepeer-";
/// How long a thread inside a namespace may take: netlink and sysctl answer within milliseconds.
const THREAD_DEADLINE: Duration = Duration::from_secs(20);

/// A network namespace of ours, kept open.
#[derive(Clone, Debug)]
pub(super) struct Namespace {
    instance: InstanceId,
    file: Arc<File>,
}

fn path(instance: &InstanceId) -> PathBuf {
    Path::new(FOLDER).join(format!("{PREFIX}{instance}"))
}

impl Namespace {
    /// Makes an instance's namespace, marked as `owner`'s.
    pub async fn make(instance: &InstanceId, owner: &str) -> Result<Self, PlaneError> {
        let path = path(instance);
        let alias = owner.to_owned();
        on_a_thread(move || {
            prepare_folder()?;
            unshare(CloneFlags::CLONE_NEWNET).doing(|| "make a network namespace".to_owned())?;
            // This thread is no worker of the runtime and ends right here, so it may block.
            Handle::current().block_on(async {
                let links = Links::here()?;
                let lo = links.need("lo").await?;
                links.set_alias(lo, &alias).await?;
                links.up(lo).await
            })?;
            name_this_namespace(&path)
        })
        .await?;
        let made = Self::open(instance)?;
        made.ok_or_else(|| PlaneError::new(format!("the namespace of instance {instance} went away while it was made")))
    }

    /// Opens an instance's namespace, if there is one.
    pub fn open(instance: &InstanceId) -> Result<Option<Self>, PlaneError> {
        let path = path(instance);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).doing(|| format!("open {}", path.display())),
        };
        let kind = fstatfs(&file).doing(|| format!("look at {}", path.display()))?.filesystem_type();
        if kind != NSFS_MAGIC {
            // Its maker was stopped between file and mount: a name without a namespace.
            fs::remove_file(&path).doing(|| format!("remove {}, which names no namespace", path.display()))?;
            return Ok(None);
        }
        Ok(Some(Self { instance: instance.clone(), file: Arc::new(file) }))
    }

    /// The descriptor, for moving links into it.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Runs `work` on a thread inside the namespace. The thread may use the runtime, but is no worker of it.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PlaneError> + Send + 'static,
    ) -> Result<T, PlaneError> {
        let (file, instance) = (Arc::clone(&self.file), self.instance.clone());
        on_a_thread(move || {
            setns(&*file, CloneFlags::CLONE_NEWNET).doing(|| format!("enter the namespace of instance {instance}"))?;
            work()
        })
        .await
    }

    /// Opens a netlink connection inside.
    pub async fn links(&self) -> Result<Links, PlaneError> {
        self.run(Links::here).await
    }

    /// Whose it is, by its mark; `None` if it has none.
    pub async fn owner(&self) -> Result<Option<String>, PlaneError> {
        let links = self.links().await?;
        let lo = links.need("lo").await?;
        links.alias(lo).await
    }

    /// Takes its name away. It ends with the last descriptor and link that hold it.
    pub fn forget(self) -> Result<(), PlaneError> {
        let path = path(&self.instance);
        umount2(&path, MntFlags::MNT_DETACH).doing(|| format!("unmount {}", path.display()))?;
        fs::remove_file(&path).doing(|| format!("remove {}", path.display()))
    }
}

/// Instances that have a namespace by the name of ours, whoever made it.
pub(super) fn named() -> Result<Vec<InstanceId>, PlaneError> {
    let entries = match fs::read_dir(FOLDER) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).doing(|| format!("list {FOLDER}")),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.doing(|| format!("list {FOLDER}"))?.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        // Whatever is no id was not named by us.
        found.extend(id.and_then(|id| id.parse().ok()));
    }
    Ok(found)
}

/// Runs `work` on a thread of its own in a namespace that has no name and ends with it: for trying things out.
pub(super) async fn scratch<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PlaneError> + Send + 'static,
) -> Result<T, PlaneError> {
    on_a_thread(move || {
        unshare(CloneFlags::CLONE_NEWNET).doing(|| "make a network namespace".to_owned())?;
        work()
    })
    .await
}

/// Runs `work` on a thread of its own and waits for it, at most for [`THREAD_DEADLINE`].
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PlaneError> + Send + 'static,
) -> Result<T, PlaneError> {
    let runtime = Handle::current();
    let (done, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("sitepeer-netns".to_owned());
    let spawned = thread.spawn(move || {
        let _entered = runtime.enter();
        // Nobody waits any more after the deadline.
        drop(done.send(work()));
    });
    spawned.doing(|| "start a thread for a namespace".to_owned())?;
    let waited = timeout(THREAD_DEADLINE, result).await.doing(|| "wait for a thread in a namespace".to_owned())?;
    waited.doing(|| "run in a namespace (the thread ended early)".to_owned())?
}

/// Makes `/run/netns` as `ip netns` does: a shared mount, so that names made here are seen in every mount namespace.
fn prepare_folder() -> Result<(), PlaneError> {
    fs::create_dir_all(FOLDER).doing(|| format!("make {FOLDER}"))?;
    let share = || mount(None::<&str>, FOLDER, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>);
    if share().is_err() {
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(FOLDER), FOLDER, None::<&str>, bind, None::<&str>).doing(|| format!("mount {FOLDER} on itself"))?;
        share().doing(|| format!("share the mount of {FOLDER}"))?;
    }
    Ok(())
}

/// Gives the namespace of the calling thread a name that outlives it.
fn name_this_namespace(path: &Path) -> Result<(), PlaneError> {
    let named = File::options().write(true).create_new(true).open(path);
    named.doing(|| format!("make {}", path.display()))?;
    let here = "/proc/thread-self/ns/net";
    let bound = mount(Some(here), path, None::<&str>, MsFlags::MS_BIND, None::<&str>);
    if bound.is_err() {
        fs::remove_file(path).doing(|| format!("remove {}", path.display()))?;
    }
    bound.doing(|| format!("mount a namespace on {}", path.display()))
}
