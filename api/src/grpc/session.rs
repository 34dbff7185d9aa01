//! `SessionService`: a guest customer and the token that speaks for them.

use tonic::{Request, Response, Status};

use super::{
    Face,
    convert::timestamp,
    proto::{CreateSessionRequest, Session, session_service_server::SessionService},
};

#[tonic::async_trait]
impl SessionService for Face {
    async fn create_session(
        &self,
        _: Request<CreateSessionRequest>,
    ) -> Result<Response<Session>, Status> {
        let session = self.0.open_session();
        Ok(Response::new(Session {
            customer_id: session.customer_id.to_string(),
            token: session.token,
            expires_at: Some(timestamp(session.expires_at)),
        }))
    }
}
