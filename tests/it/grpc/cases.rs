//! Cases over gRPC: the same as over HTTP, under the same codes.

use api::grpc::proto::{
    Case, CaseState, GetCaseRequest, ListCasesRequest, ResolveCaseRequest,
    StartReconciliationRequest,
};
use domain::CheckoutId;
use tests::{Shop, eventually};
use tonic::{Code, Response};
use uuid::Uuid;

use super::caller::{Admin, assert_refused};
use crate::{
    late::{cancelled, late_intent},
    reconciling::{HOUR, reconcile},
};

#[tokio::test]
async fn an_operator_has_the_books_compared_and_resolves_what_is_found() {
    let shop = Shop::open().await;
    shop.webhook_fault("lose", 100).await;
    let (_, checkout) = cancelled(&shop).await;
    late_intent(&shop, checkout).await;
    let stranger = late_intent(&shop, CheckoutId::from(Uuid::new_v4())).await;
    let mut olga = Admin::arrive(&shop, shop.operator("olga").await.token()).await;

    eventually("the books are compared", || async {
        let mut olga = olga.clone();
        let compare = olga.asks(StartReconciliationRequest {});
        // Until a worker has made the schedule, it is to be sent again.
        olga.client.start_reconciliation(compare).await.ok().map(drop)
    })
    .await;
    let open = eventually("a case is open", || async {
        let mut olga = olga.clone();
        let open =
            olga.asks(ListCasesRequest { state: CaseState::Open.into(), ..Default::default() });
        olga.client.list_cases(open).await.expect("cases").into_inner().cases.pop()
    })
    .await;
    let named = olga.asks(GetCaseRequest { id: open.id.clone() });
    let named = olga.client.get_case(named).await.expect("the case").into_inner();
    let unsaid = olga.asks(ResolveCaseRequest { id: open.id.clone(), reason: String::new() });
    let unsaid = olga.client.resolve_case(unsaid).await.expect_err("a reason is needed");
    let reason = "the other shop's".to_owned();
    let resolve = olga.asks(ResolveCaseRequest { id: open.id.clone(), reason });
    let resolved = olga.client.resolve_case(resolve).await.map(Response::into_inner);
    let resolved = resolved.expect("the case");
    let unknown = "case_00000000000000000000000000".to_owned();
    let unknown = olga.asks(ResolveCaseRequest { id: unknown, reason: "x".to_owned() });
    let unknown = olga.client.resolve_case(unknown).await.expect_err("there is none");
    reconcile(&shop, HOUR).await;
    let all = olga.asks(ListCasesRequest::default());
    let all = olga.client.list_cases(all).await.expect("cases").into_inner().cases;

    assert_eq!(open.difference, "open_authorization");
    assert_eq!(named, open);
    assert!(open.facts_json.contains(&stranger), "{}", open.facts_json);
    assert_refused(&unsaid, Code::InvalidArgument, "validation_failed");
    assert_refused(&unknown, Code::NotFound, "not_found");
    assert_eq!(resolved.state(), CaseState::Resolved);
    assert_eq!(resolved.resolved_by.as_deref(), Some("olga"));
    let mut states: Vec<_> = all.iter().map(Case::state).collect();
    states.sort();
    assert_eq!(states, [CaseState::Mended, CaseState::Resolved], "{all:#?}");
}

#[tokio::test]
async fn cases_are_not_for_customers() {
    let shop = Shop::open().await;
    let token = shop.customer().await.token().to_owned();
    let mut eve = Admin::arrive(&shop, &token).await;

    let (list, compare) =
        (eve.asks(ListCasesRequest::default()), eve.asks(StartReconciliationRequest {}));
    let resolve = eve.asks(ResolveCaseRequest { id: "x".to_owned(), reason: "x".to_owned() });
    let refusals = [
        eve.client.list_cases(list).await.map(drop),
        eve.client.resolve_case(resolve).await.map(drop),
        eve.client.start_reconciliation(compare).await.map(drop),
    ];

    for refusal in refusals {
        let refusal = refusal.expect_err("not for customers");
        assert_refused(&refusal, Code::PermissionDenied, "forbidden");
    }
    shop.assert_lawful().await;
}
