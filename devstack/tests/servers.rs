//! Claims about the servers: what they are, whose databases are whose, and what is said when they cannot start.

use std::net::TcpListener;

use devstack::{Error, Postgres, PostgresOptions, Temporal, TemporalOptions, TestServers};
use sqlx::{Connection, Executor, PgConnection, Row};

static SERVERS: TestServers = TestServers::new();

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("the database answers")
}

async fn one_text(connection: &mut PgConnection, query: &'static str) -> String {
    let row = connection.fetch_one(query).await.expect("the query runs");
    row.get(0)
}

async fn fill(url: String) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(&url).await?;
    connection.execute("CREATE TABLE note (body text NOT NULL)").await?;
    connection.execute("INSERT INTO note VALUES ('from the template')").await?;
    connection.close().await
}

#[tokio::test]
async fn it_is_postgres_18_with_utf8_and_checksums() {
    let database = SERVERS.empty_database().await.expect("a database");
    let mut connection = connect(database.url()).await;

    assert!(one_text(&mut connection, "SHOW server_version").await.starts_with("18."));
    assert_eq!(one_text(&mut connection, "SHOW server_encoding").await, "UTF8");
    assert_eq!(one_text(&mut connection, "SHOW data_checksums").await, "on");
    assert_eq!(one_text(&mut connection, "SHOW synchronous_commit").await, "on");
    assert_eq!(one_text(&mut connection, "SELECT lower('ÄÖ')").await, "äö");
}

#[tokio::test]
async fn every_test_gets_its_own_copy_of_the_template() {
    let first = SERVERS.database("notes", fill).await.expect("a database");
    let second = SERVERS.database("notes", fill).await.expect("a database");
    let mut in_first = connect(first.url()).await;
    let mut in_second = connect(second.url()).await;

    in_first.execute("INSERT INTO note VALUES ('mine')").await.expect("it is inserted");

    let count = "SELECT count(*)::text FROM note";
    assert_eq!(one_text(&mut in_first, count).await, "2");
    assert_eq!(one_text(&mut in_second, count).await, "1");
}

#[tokio::test]
async fn copies_can_be_made_at_the_same_time() {
    let copies = (0..8).map(|_| tokio::spawn(SERVERS.database("notes", fill)));
    for copy in copies.collect::<Vec<_>>() {
        let database = copy.await.expect("it does not panic").expect("a database");
        let mut connection = connect(database.url()).await;
        assert_eq!(one_text(&mut connection, "SELECT body FROM note").await, "from the template");
    }
}

#[tokio::test]
async fn a_dropped_database_is_gone_even_with_open_sessions() {
    let database = SERVERS.empty_database().await.expect("a database");
    let other = SERVERS.empty_database().await.expect("a database");
    let _open = connect(database.url()).await;
    let name = database.name().to_owned();

    drop(database);

    let mut connection = connect(other.url()).await;
    let left = sqlx::query("SELECT 1 FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_optional(&mut connection)
        .await
        .expect("the query runs");
    assert!(left.is_none());
}

#[tokio::test]
async fn a_template_that_cannot_be_filled_is_an_error_and_may_be_tried_again() {
    let refuse = async |_url: String| Err(std::io::Error::other("no such table"));
    let error = SERVERS.database("refused", refuse).await.expect_err("it was refused");
    assert_eq!(error.to_string(), "could not fill the template database refused");
    SERVERS.database("refused", fill).await.expect("a database");
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_flag_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("it is bound").port();

    let postgres = Postgres::start(PostgresOptions {
        port,
        port_flag: Some("--postgres-port"),
        ..PostgresOptions::default()
    });
    let temporal = Temporal::start(TemporalOptions { port, ..TemporalOptions::default() });

    let error = postgres.await.expect_err("the port is taken");
    assert!(matches!(error, Error::PortTaken { .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "port {port} is already in use: stop what uses it or choose another with --postgres-port"
        )
    );
    let error = temporal.await.expect_err("the port is taken");
    assert_eq!(
        error.to_string(),
        format!("port {port} is already in use: stop what uses it or choose another")
    );
}

#[tokio::test]
async fn data_in_a_directory_survives_a_crash_of_the_server() {
    let directory = std::env::temp_dir().join(format!("devstack-durable-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let options = PostgresOptions {
        data_directory: Some(directory.join("postgres")),
        ..PostgresOptions::default()
    };

    let first = Postgres::start(options.clone()).await.expect("it starts");
    let url = first.ensure_database("kept").await.expect("a database");
    first.ensure_database("kept").await.expect("making it again is harmless");
    fill(url).await.expect("it can be filled");
    first.process().kill_now().expect("it can be killed");
    let second = Postgres::start(options).await.expect("it starts again");

    let mut connection = connect(&second.database_url("kept")).await;
    assert_eq!(one_text(&mut connection, "SELECT body FROM note").await, "from the template");
    second.stop().await.expect("it stops");
    std::fs::remove_dir_all(directory).expect("the directory is ours");
}

#[tokio::test]
async fn temporal_has_the_wanted_namespaces_and_search_attributes_also_on_an_old_file() {
    let directory = std::env::temp_dir().join(format!("devstack-temporal-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let options = TemporalOptions {
        database_file: Some(directory.join("temporal.db")),
        namespaces: vec!["shop".into()],
        ..TemporalOptions::default()
    };
    let first = Temporal::start(options.clone()).await.expect("it starts");
    first.stop().await.expect("it stops");

    let with_attribute = TemporalOptions {
        search_attributes: vec![("AmountMinor".into(), "Int".into())],
        ..options
    };
    let second = Temporal::start(with_attribute).await.expect("it starts again");

    for namespace in ["default", "shop"] {
        let listed = tokio::process::Command::new(second.cli())
            .args(["operator", "search-attribute", "list", "--address", &second.address()])
            .args(["--namespace", namespace])
            .output()
            .await
            .expect("the command line runs");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(listed.contains("AmountMinor"), "in {namespace}: {listed}");
    }
    drop(second);
    std::fs::remove_dir_all(directory).expect("the directory is ours");
}
