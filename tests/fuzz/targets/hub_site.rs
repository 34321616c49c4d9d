//! Nothing that a hub says makes the agent panic, and what passes is a site that a file could have named too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sitepeer::api::AgentDesired;
use sitepeer::uplink;

fuzz_target!(|bytes: &[u8]| {
    let Ok(desired) = serde_json::from_slice::<AgentDesired>(bytes) else { return };
    let ours = desired.peer.clone();
    match uplink::site(desired, &ours) {
        Ok(Some(site)) => {
            assert!(
                site.check().is_ok() && site.check_values().is_ok(),
                "a site that breaks the rules was let through"
            );
            assert_eq!(site.id.as_str(), ours.as_str(), "rows of somebody else");
        }
        Ok(None) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
