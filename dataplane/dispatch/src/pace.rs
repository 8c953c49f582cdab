//! How fast a target is spoken to: four small machines that a worker asks before each attempt and tells after it.
//!
//! Instants are handed in, and nothing here waits.
//!
//! - [`rate`]: so many attempts in so much time, as the Processor's author said
//! - [`limit`]: how many at once, as the target bears
//! - [`share`]: how much of the Processor's allowance is this process's
//! - [`breaker`]: whether at all, while the target is down; [`endpoint`]: who shares it

pub mod breaker;
pub mod endpoint;
pub mod limit;
pub mod rate;
pub mod share;

pub use breaker::{Admission, Breaker};
pub use endpoint::{Endpoint, Endpoints, Permit};
pub use limit::{Limit, Signal};
pub use rate::Bucket;
