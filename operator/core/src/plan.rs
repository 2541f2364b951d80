//! What has to be written for what was observed to become what is wanted. PURE: a plan is a value; `apply.rs` carries it out.
//!
//! A plan names only what differs. Planning again after the plan was carried out gives an empty one.

mod cache_choice;
pub mod endpoint;
pub mod model_cache;

use lexiscale_crds::ModelCache;

use crate::children::{Child, Difference, Doomed};

pub use cache_choice::{CacheChoice, ready_cache};

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Add the endpoint to the owners of a cache, which may have to be made for it.
    JoinCache(Box<ModelCache>),
    /// Take the endpoint from the owners of a cache that others still need.
    LeaveCache { name: String, uid: String },
    /// Delete a cache that nobody else needs, unless somebody joined it since.
    DiscardCache { name: String, uid: String, resource_version: String },
    /// Make a child what it should be.
    Apply(Child),
    /// Change the number of workers and nothing else: their template waits for a model.
    Scale { deployment: String, replicas: u32 },
    /// Delete a child.
    Delete(Doomed),
}

fn writes(difference: Difference) -> impl Iterator<Item = Write> {
    let Difference { apply, delete, leftovers: _ } = difference;
    // Deletions last: what replaces something is there before that goes.
    apply.into_iter().map(Write::Apply).chain(delete.into_iter().map(Write::Delete))
}
