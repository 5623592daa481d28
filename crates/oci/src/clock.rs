//! Moments as the documents write them: RFC 3339 in UTC.

use calendar::{fraction, rfc3339};
use rustix::time::{ClockId, clock_gettime};

/// Now, with nanoseconds whose trailing zeros are dropped, as Go's RFC3339Nano prints it.
pub fn now_nanos() -> String {
    let now = clock_gettime(ClockId::Realtime);
    let nanoseconds = u32::try_from(now.tv_nsec).expect("less than a second");
    format!("{}{}Z", rfc3339(now.tv_sec), fraction(nanoseconds))
}

/// Now, in whole seconds.
pub fn now() -> String {
    rfc3339(clock_gettime(ClockId::Realtime).tv_sec) + "Z"
}
