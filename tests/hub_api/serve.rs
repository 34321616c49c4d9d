use crate::hub::Hub;
#[tokio::test]
async fn serve_for_a_while() {
    let Ok(port) = std::env::var("SITEPEER_SERVE") else { return };
    let hub = Hub::start(&format!("#\n")).await;
    std::fs::write(port, format!("{} {}", hub.admin.address, hub.admin.credential.clone().unwrap())).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
}
