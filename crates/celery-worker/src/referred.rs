//! What a message only refers to, at the worker: an input that is had before the model is asked, and a result that is left before it is told.

use cresset_celery::{Exception, Head, PARCEL_LOST, Parcel, Status};
use cresset_task::{Code, Failure, Payload};

use crate::answer::Answer;
use crate::depot::Never;
use crate::insist::{Abandoned, insist};
use crate::job::Job;

impl Job<'_> {
    /// The input that a message refers to. A store that is away is waited for: whoever gives the message back has it again at once, and brokers
    /// count that.
    pub(crate) async fn fetch(&self, parcel: &Parcel) -> Result<Payload, Answer> {
        let depot = self.shared.depot.as_ref();
        let Some(depot) = depot.filter(|depot| depot.store() == parcel.store) else {
            let why = "this worker does not have the store where the input is: it was started without --results, or with another one";
            return Err(Answer::Failed(failed(PARCEL_LOST, why.into())));
        };
        let had = tokio::select! {
            had = insist(&self.shared.closing, "fetch an input from the store", || depot.get(parcel)) => had,
            () = self.place.revoke.cancelled() => {
                return Err(Answer::Ends(Status::Revoked(Exception::revoked("revoked"))));
            }
            () = self.place.void.cancelled() => return Err(Answer::Back),
        };
        match had {
            Ok(Ok(Some(input))) => Ok(input),
            Ok(Ok(None)) => {
                let why = format!("the input is not in the store any more (parcel {})", parcel.id);
                Err(Answer::Failed(failed(PARCEL_LOST, why)))
            }
            Ok(Err(Never(why))) => Err(Answer::Failed(failed("ParcelUnreadable", why))),
            Err(Abandoned) => Err(Answer::Back),
        }
    }

    /// What came of it; a large result is left for whoever can fetch it.
    pub(crate) async fn answer(&self, output: &Payload, head: &Head) -> Answer {
        let depot = self.shared.depot.as_ref();
        let theirs = depot.filter(|depot| {
            head.is_ours && head.store == Some(depot.store()) && depot.takes(output.weight())
        });
        let Some(depot) = theirs else {
            return Answer::of(output, head);
        };
        let (parcel, bytes) = depot.pack(output);
        let put = insist(&self.shared.abandon, "leave a result in the store", || {
            depot.put(&parcel, &bytes)
        });
        match put.await {
            Ok(Ok(())) => Answer::Ends(Status::Parcel(parcel)),
            Ok(Err(Never(why))) => {
                tracing::warn!(
                    why,
                    "a large result cannot be left in the store and is sent whole"
                );
                Answer::of(output, head)
            }
            Err(Abandoned) => Answer::Back,
        }
    }
}

fn failed(type_: &str, message: String) -> Failure {
    Failure::new(Code::Internal, type_, message)
}
