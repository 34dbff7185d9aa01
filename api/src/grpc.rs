//! The gRPC face: generated types in, one call to the service, generated types out.
//!
//! The generated types stop here. Reflection and health are served beside the services.

mod admin;
mod cart;
mod checkout;
mod convert;
mod order;
mod session;

use std::{collections::HashSet, sync::LazyLock};

use axum::Router;
use domain::CustomerId;
use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use tonic::{
    Code, Response, Status,
    metadata::{MetadataMap, MetadataValue},
    service::Routes,
};
use tonic_health::server::HealthReporter;

use crate::{
    BODY_BYTES_MAX,
    auth::Operator,
    error::{Error, FieldError, IDEMPOTENCY_REPLAYED},
    service::{Service, page::Wanted, request::IdempotencyKey},
};

/// The contract, generated from `proto/holdfast/v1`. Public for those who test against it.
#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    reason = "generated"
)]
pub mod proto {
    tonic::include_proto!("holdfast.v1");

    /// The contract's own description, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/holdfast.bin"));
}

use proto::{
    admin_service_server::AdminServiceServer, cart_service_server::CartServiceServer,
    checkout_service_server::CheckoutServiceServer, order_service_server::OrderServiceServer,
    session_service_server::SessionServiceServer,
};

/// One of the services, over the service that both faces share.
#[derive(Clone)]
struct Face(Service);

/// Every gRPC service, as a router, and the reporter of their health.
pub(crate) fn router(service: &Service) -> anyhow::Result<(Router, HealthReporter)> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let face = Face(service.clone());
    let routes = Routes::new(
        SessionServiceServer::new(face.clone()).max_decoding_message_size(BODY_BYTES_MAX),
    )
    .add_service(CartServiceServer::new(face.clone()).max_decoding_message_size(BODY_BYTES_MAX))
    .add_service(CheckoutServiceServer::new(face.clone()).max_decoding_message_size(BODY_BYTES_MAX))
    .add_service(OrderServiceServer::new(face.clone()).max_decoding_message_size(BODY_BYTES_MAX))
    .add_service(AdminServiceServer::new(face).max_decoding_message_size(BODY_BYTES_MAX))
    .add_service(health)
    .add_service(reflection);
    Ok((routes.prepare().into_axum_router(), reporter))
}

/// Whether the path is a method of ours, and so may be counted under its own name.
pub(crate) fn knows(path: &str) -> bool {
    static METHODS: LazyLock<HashSet<String>> = LazyLock::new(methods);
    METHODS.contains(path)
}

/// The paths of our methods, as the contract lists them.
fn methods() -> HashSet<String> {
    let described = FileDescriptorSet::decode(proto::DESCRIPTORS).expect("made by our own build");
    let mut methods = HashSet::new();
    for file in described.file {
        for service in &file.service {
            let service_name = format!("{}.{}", file.package(), service.name());
            let names = service.method.iter().map(MethodDescriptorProto::name);
            methods.extend(names.map(|name| format!("/{service_name}/{name}")));
        }
    }
    methods
}

impl Face {
    fn caller(&self, metadata: &MetadataMap) -> Result<CustomerId, Error> {
        self.0.caller(authorization(metadata))
    }

    fn operator(&self, metadata: &MetadataMap) -> Result<Operator, Error> {
        self.0.operator(authorization(metadata))
    }
}

fn authorization(metadata: &MetadataMap) -> Option<&str> {
    metadata.get("authorization").and_then(|value| value.to_str().ok())
}

fn idempotency_key(metadata: &MetadataMap) -> Result<Option<IdempotencyKey>, Error> {
    metadata.get("idempotency-key").map(|key| IdempotencyKey::parse(key.as_bytes())).transpose()
}

/// An answer, which says in its metadata if it was given before.
fn answer<T>(message: impl Into<T>, replayed: bool) -> Response<T> {
    let mut response = Response::new(message.into());
    mark(response.metadata_mut(), replayed);
    response
}

/// The same of an error.
fn refusal(error: Error, replayed: bool) -> Status {
    let mut status = Status::from(error);
    mark(status.metadata_mut(), replayed);
    status
}

fn mark(metadata: &mut MetadataMap, replayed: bool) {
    if replayed {
        metadata.insert(IDEMPOTENCY_REPLAYED, MetadataValue::from_static("true"));
    }
}

/// The page that is asked for.
fn wanted(cursor: Option<&str>, limit: Option<u32>) -> Result<Wanted, Error> {
    Wanted::parse(cursor, limit.map(|limit| limit.to_string()).as_deref())
}

/// What cannot be a name names nothing.
fn named<T: std::str::FromStr>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::NotFound)
}

/// Parses a field, and says which one it was if it cannot be.
fn field<T, E: std::fmt::Display>(name: &str, parsed: Result<T, E>) -> Result<T, Error> {
    parsed.map_err(|error| {
        Error::Invalid(vec![FieldError::at(format!("/{name}"), "invalid_value", error.to_string())])
    })
}

/// `google.rpc.Status`, of which only one detail is ever sent.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: std::collections::HashMap<String, String>,
}

/// A status whose details tell the stable code and the problem's other members.
pub(crate) fn status(
    code: Code,
    message: &str,
    reason: &str,
    members: impl Iterator<Item = (String, String)>,
) -> Status {
    let info = ErrorInfo {
        reason: reason.to_owned(),
        domain: "holdfast".to_owned(),
        metadata: members.collect(),
    };
    let detail = prost_types::Any {
        type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
        value: info.encode_to_vec(),
    };
    let details =
        RpcStatus { code: code.into(), message: message.to_owned(), details: vec![detail] };
    Status::with_details(code, message, details.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_known_by_the_paths_that_the_contract_gives_them() {
        assert!(knows("/holdfast.v1.CheckoutService/Start"));
        assert!(knows("/holdfast.v1.AdminService/RecordShipmentEvent"));
        for stranger in
            ["/holdfast.v1.CheckoutService/Steal", "/Start", "", "/grpc.health.v1.Health/Check"]
        {
            assert!(!knows(stranger), "{stranger}");
        }
    }
}
