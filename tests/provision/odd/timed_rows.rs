//! A router that keeps the lock's row until it ends by itself.

use crate::world::World;

#[tokio::test]
async fn a_lock_that_the_router_keeps_stops_neither_this_run_nor_the_next() {
    let world = World::faulty(&["timed-rows-stay"]).await;
    let site = world.site();
    world.provision(&site).await.assert_result("converged");
    let removed = world.remove(sitepeer::cli::args::Subject::Only).await;
    removed.assert_result("removed");
}
