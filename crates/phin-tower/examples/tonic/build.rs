//! Generates the client and the server of the service, without `protoc`: the messages are written by hand in `src/echo.rs`.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let echo = Method::builder()
        .name("echo")
        .route_name("Echo")
        .input_type("crate::echo::Request")
        .output_type("crate::echo::Reply")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    let service = Service::builder().name("Echo").package("phin.example").method(echo).build();
    Builder::new().compile(&[service]);
}
