//! `dicast.define`, `dicast.set`, `dicast.unset`: keys of programs' own.
//!
//! *In the order of the calls*: each is put into the loop's queue as it comes, so that of two
//! values the later one stands, and the end of a connection comes after all that it asked.

use std::{sync::Arc, time::Duration};

use opus_dicast::{
    Refusal as Word,
    aggregate::{KeySpec, Mode, Sample, Urgency},
};
use opus_ipc::{
    Body,
    message::{Code, Defined, DicastDefine, DicastSet, DicastUnset, Empty, Fault},
    serve::{Conn, Reply},
};
use opus_site::keys::{self, Program, Refusal};
use tokio::{sync::oneshot, time::timeout};

use super::Inner;
use crate::runtime::{Core, KeyReply};

/// Longest wait for dicast's word on what it did not do: it comes within a turn of the loop.
const WORD_WAIT: Duration = Duration::from_secs(5);
/// What is not known yet, or has no room yet, may be or have it after this.
const RETRY_MS: u64 = 1_000;

impl Inner {
    pub(super) fn dicast_define(&self, params: DicastDefine, reply: Reply<Defined>) {
        let spec = match spec_of(&params) {
            Ok(spec) => spec,
            Err(fault) => return reply.err(fault),
        };
        let name = params.name.clone();
        let done = move |key, new| Defined { key, name, new };
        self.in_order(reply, done, move |core| core.define_key(&params.name, spec));
    }

    pub(super) fn dicast_set(&self, conn: &Arc<Conn>, params: DicastSet, reply: Reply<Empty>) {
        let sample = match params.weight {
            Some(weight) => Sample::Weighted(params.value, weight),
            None => Sample::Number(params.value),
        };
        let program = Program {
            conn: conn.id,
            app: conn.app.clone(),
        };
        let done = |_, _| Empty {};
        self.in_order(reply, done, move |core| {
            core.set_key(&program, &params.key, sample)
        });
    }

    pub(super) fn dicast_unset(&self, conn: &Arc<Conn>, params: DicastUnset, reply: Reply<Empty>) {
        let conn = conn.id;
        let done = |_, _| Empty {};
        self.in_order(reply, done, move |core| core.unset_key(conn, &params.key));
    }

    /// Has the loop do it, behind what was asked before.
    fn in_order<T: Body>(
        &self,
        reply: Reply<T>,
        done: impl FnOnce(u16, bool) -> T + Send + 'static,
        ask: impl FnOnce(&mut Core) -> KeyReply + Send + 'static,
    ) {
        let place = match self.handle.place() {
            Ok(Some(place)) => place,
            Ok(None) => return reply.err(busy("the node has too much to do just now")),
            Err(stopped) => return reply.err(stopped.into()),
        };
        place.order(move |core| {
            // Nobody would know of it: a value that nobody waits for is not set.
            if reply.is_over() {
                return;
            }
            if core.is_draining() {
                let msg = "the node is draining and leaves the tree of all nodes";
                return reply.err(Fault::new(Code::Unavailable, msg));
            }
            match ask(core) {
                KeyReply::Done { key, new } => reply.ok(&done(key, new)),
                KeyReply::Refused(refusal) => reply.err(refused(&refusal)),
                KeyReply::Busy => reply.err(busy("too many keys are being changed just now")),
                KeyReply::Waits(word) => {
                    tokio::spawn(async move { reply.err(why(word).await) });
                }
            }
        });
    }
}

/// Errors: there is no such function, or an age beyond all bounds.
fn spec_of(params: &DicastDefine) -> Result<KeySpec, Fault> {
    let Some(function) = keys::function(&params.function) else {
        let msg = format!(
            "no function {:?}; there are count, sum, mean, weighted mean, variance, min, max, \
             quantiles, and top 1 to top 16",
            params.function
        );
        return Err(Fault::new(Code::BadRequest, msg));
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "beyond an f32 it is refused as infinite"
    )]
    let eps = params.eps.unwrap_or(0.0) as f32;
    let mut spec = KeySpec::new(function, params.range, eps);
    if params.eager == Some(true) {
        spec.urgency = Urgency::Eager;
    }
    if params.statistical == Some(true) {
        spec.mode = Mode::Statistical;
    }
    spec.exact_in_cluster = params.exact.unwrap_or(true);
    if let Some(ms) = params.age_ms {
        spec.age_max = Duration::from_millis(ms);
    }
    Ok(spec)
}

fn busy(msg: &str) -> Fault {
    Fault::new(Code::Busy, msg).retry_ms(RETRY_MS)
}

/// What a refusal of the site manager is over IPC.
fn refused(refusal: &Refusal) -> Fault {
    let fault = |code| Fault::new(code, refusal.to_string());
    match refusal {
        Refusal::Name(_) | Refusal::Spec(_) | Refusal::Distinct => {
            fault(Code::BadRequest).help("opus-node dicast define --help")
        }
        Refusal::Value { name, .. } => {
            fault(Code::BadRequest).help(format!("opus-node dicast {name}"))
        }
        Refusal::Number { number, .. } | Refusal::Differs { number, .. } => {
            fault(Code::Exists).help(format!("opus-node dicast {number}"))
        }
        Refusal::InUse(_) | Refusal::Held { .. } => fault(Code::Busy),
        Refusal::Full(_) => fault(Code::Quota).help("opus-node dicast"),
        Refusal::Undefined(_) => fault(Code::NotFound)
            .help("opus-node dicast define --help")
            .retry_ms(RETRY_MS),
        Refusal::NoValue(_) => fault(Code::NotFound),
    }
}

/// What dicast says of what it did not do.
async fn why(word: oneshot::Receiver<Word>) -> Fault {
    let Ok(Ok(word)) = timeout(WORD_WAIT, word).await else {
        let msg = "the tree neither took it nor said why not within 5 s";
        return Fault::new(Code::Unavailable, msg).retry_ms(RETRY_MS);
    };
    match word {
        Word::KeysFull => {
            let msg = "the network has 63 keys, and its table has room for no more; one is gone \
                       ten minutes after its last value";
            Fault::new(Code::Quota, msg).help("opus-node dicast")
        }
        Word::Owned(owner) => {
            let owner = opus_swarm::peer_id(&owner);
            let msg = format!("node {owner} defined the key first, and it alone may change it");
            Fault::new(Code::Exists, msg).help("opus-node dicast")
        }
        Word::Spec(error) => {
            let msg = format!("no key can be like this: {error}");
            Fault::new(Code::BadRequest, msg).help("opus-node dicast define --help")
        }
        Word::BuiltIn => Fault::new(Code::Exists, "every node has this key already"),
        Word::Sample => Fault::new(Code::BadRequest, "this is no value of the key's function"),
        Word::NoValue => Fault::new(Code::NotFound, "this node has no value of the key"),
        Word::Started | Word::NotStarted | Word::UnknownMeasurement => {
            let msg = "the node has no place in the tree of all nodes yet";
            Fault::new(Code::Unavailable, msg).retry_ms(RETRY_MS)
        }
    }
}

#[cfg(test)]
mod tests {
    use opus_core::NodeId;

    use super::*;

    async fn said(word: Word) -> Fault {
        let (asker, waits) = oneshot::channel();
        asker.send(word).unwrap();
        why(waits).await
    }

    #[tokio::test(start_paused = true)]
    async fn dicasts_word_becomes_a_fault_and_its_silence_too() {
        assert_eq!(said(Word::KeysFull).await.code, Code::Quota);
        let owned = said(Word::Owned(NodeId([7; 32]))).await;
        assert_eq!(owned.code, Code::Exists);
        let peer = opus_swarm::peer_id(&NodeId([7; 32])).to_string();
        assert!(owned.msg.contains(&peer), "{}", owned.msg);
        let (asker, waits) = oneshot::channel::<Word>();
        let silence = why(waits).await;
        assert_eq!(
            (silence.code, silence.retry_ms),
            (Code::Unavailable, Some(RETRY_MS))
        );
        drop(asker);
    }

    #[test]
    fn a_definition_becomes_a_spec_with_what_was_not_said_as_usual() {
        let mut params = DicastDefine {
            name: "t".to_owned(),
            function: "top-3".to_owned(),
            range: (0.0, 8.0),
            eps: None,
            eager: None,
            exact: None,
            statistical: None,
            age_ms: None,
        };
        let usual = spec_of(&params).unwrap();
        let function = opus_dicast::aggregate::Function::TopK(3);
        assert_eq!(usual, KeySpec::new(function, (0.0, 8.0), 0.0));
        params.eager = Some(true);
        params.exact = Some(false);
        params.statistical = Some(true);
        params.age_ms = Some(500);
        let spec = spec_of(&params).unwrap();
        assert_eq!(
            (spec.urgency, spec.mode),
            (Urgency::Eager, Mode::Statistical)
        );
        assert_eq!(
            (spec.exact_in_cluster, spec.age_max.as_millis()),
            (false, 500)
        );
        params.function = "average".to_owned();
        assert_eq!(spec_of(&params).unwrap_err().code, Code::BadRequest);
    }
}
