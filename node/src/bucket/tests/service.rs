//! An object storage in memory that counts what it is asked for and can be made to wait or to fail.

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// Until which question it answers, and what becomes of those behind that.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Answers,
    AnswersUpTo(usize),
    Fails,
}

#[derive(Debug)]
pub(crate) struct Service {
    objects: InMemory,
    asked: watch::Sender<usize>,
    mood: watch::Sender<Mood>,
}

impl Service {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { objects: InMemory::new(), asked: watch::Sender::new(0), mood: watch::Sender::new(Mood::Answers) })
    }

    /// Questions for an object, or whether it is there, so far.
    pub(crate) fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    pub(crate) async fn wait_until_asked(&self, count: usize) {
        crate::p2p::tests::in_time(self.asked.subscribe().wait_for(|asked| *asked >= count)).await.expect("it lives");
    }

    /// Answers so many questions more, and lets the others wait.
    pub(crate) fn answer(&self, count: usize) {
        self.mood.send_replace(Mood::AnswersUpTo(self.asked() + count));
    }

    pub(crate) fn answer_all(&self) {
        self.mood.send_replace(Mood::Answers);
    }

    pub(crate) fn fail(&self) {
        self.mood.send_replace(Mood::Fails);
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a service of a test")
    }
}

#[async_trait]
impl ObjectStore for Service {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut number = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        let answers = |mood: &Mood| match mood {
            Mood::Answers | Mood::Fails => true,
            Mood::AnswersUpTo(last) => number <= *last,
        };
        let mood = *self.mood.subscribe().wait_for(answers).await.expect("it lives");
        match mood {
            Mood::Fails => Err(Error::Generic { store: "test", source: "it fails".into() }),
            _ => self.objects.get_opts(location, options).await,
        }
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.objects.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}
