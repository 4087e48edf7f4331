//! The endpoint speaks S3 as the product's own client does: signed puts, range reads, listing, deletes.

use std::sync::atomic::Ordering;

use futures::TryStreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use testkit::s3::{ACCESS_KEY_ID, Access, S3Endpoint, SECRET_ACCESS_KEY};

fn client(endpoint: &S3Endpoint, secret: &str) -> impl ObjectStore {
    AmazonS3Builder::new()
        .with_endpoint(endpoint.url())
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name("lake")
        .with_access_key_id(ACCESS_KEY_ID)
        .with_secret_access_key(secret)
        .build()
        .expect("a complete configuration")
}

#[tokio::test]
async fn put_read_list_delete_are_served_and_counted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let endpoint = S3Endpoint::start(folder.path(), listen, &["lake".to_owned()], Access::Signed)
        .await
        .expect("a free port");
    let store = client(&endpoint, SECRET_ACCESS_KEY);

    let path = Path::from("segments/2026/one.seg");
    store
        .put(&path, PutPayload::from_static(b"0123456789"))
        .await
        .expect("put");
    assert_eq!(store.get_range(&path, 2..5).await.expect("range").as_ref(), b"234");
    let listed: Vec<_> = store
        .list(Some(&Path::from("segments")))
        .try_collect()
        .await
        .expect("list");
    assert_eq!(
        listed.iter().map(|object| object.location.as_ref()).collect::<Vec<_>>(),
        [path.as_ref()]
    );
    store.delete(&path).await.expect("delete");
    assert!(matches!(
        store.get(&path).await,
        Err(object_store::Error::NotFound { .. })
    ));

    let counts = endpoint.counts();
    assert_eq!(counts.puts.load(Ordering::Relaxed), 1);
    assert_eq!(counts.bytes_in.load(Ordering::Relaxed), 10);
    assert_eq!(counts.gets.load(Ordering::Relaxed), 2);
    assert_eq!(counts.lists.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_wrong_key_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let endpoint = S3Endpoint::start(folder.path(), listen, &["lake".to_owned()], Access::Signed)
        .await
        .expect("a free port");
    let error = client(&endpoint, "wrong")
        .put(&Path::from("x"), PutPayload::from_static(b"x"))
        .await;
    assert!(error.is_err());
}
