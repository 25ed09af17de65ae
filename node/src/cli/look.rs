//! `status`, `peers`, `events`, `drain`: looking at a node, and telling it to go.

use std::{
    io::{self, Write},
    time::Duration,
};

use opus_ipc::message::{
    EventItem, NodeDrain, NodeEvents, NodePeers, NodeStatus, PeerLine, Status, Verdict, Via,
};

use super::{
    args::{DrainArgs, EventsArgs, Global, StatusArgs},
    connect::connect,
    dicast::counted,
    exit::{Exit, Failure},
    output::{Output, duration, table},
};

/// How often `status --watch` looks.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// The verdict first; if it is not ok, the cause and what mends it.
pub(super) async fn status(
    global: &Global,
    args: &StatusArgs,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let client = connect(global).await?;
    let mut ticks = tokio::time::interval(WATCH_INTERVAL);
    loop {
        ticks.tick().await;
        let status = client.call(&NodeStatus {}).await?;
        if args.watch {
            output.item(&status, |to| writeln!(to, "{}", verdict(&status)))?;
            continue;
        }
        output.result(&status, |to| show_status(to, &status))?;
        let healthy = status.verdict == Verdict::Ok || !args.check;
        return Ok(if healthy { Exit::Done } else { Exit::Unhealthy });
    }
}

/// One line for each connected peer.
pub(super) async fn peers(global: &Global, output: &mut Output) -> Result<Exit, Failure> {
    let client = connect(global).await?;
    let peers = client.call(&NodePeers {}).await?;
    output.result(&peers, |to| show_peers(to, &peers))?;
    Ok(Exit::Done)
}

/// Events as they happen.
pub(super) async fn events(
    global: &Global,
    args: &EventsArgs,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let client = connect(global).await?;
    let params = NodeEvents {
        level: args.level.clone(),
        kind: args.kind.clone(),
    };
    let mut items = client.watch(&params).await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(item) = items.next().await else {
            break;
        };
        let item = item?;
        output.item(&item, |to| match &item {
            EventItem::Event(line) => {
                let (level, kind) = (&line.level, &line.kind);
                writeln!(to, "{level:<5}  {kind:<8}  {}", line.msg)
            }
            EventItem::Lost(n) => writeln!(to, "..     {n} events were left out"),
        })?;
        left -= 1;
    }
    Ok(Exit::Done)
}

/// Tells the node to leave in order.
pub(super) async fn drain(
    global: &Global,
    args: &DrainArgs,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let client = connect(global).await?;
    let answer = client.call(&NodeDrain { ms: args.ms }).await?;
    output.result(&answer, |to| {
        writeln!(to, "the node leaves its overlays, then stops")
    })?;
    Ok(Exit::Done)
}

fn verdict(status: &Status) -> String {
    let word = match status.verdict {
        Verdict::Ok => "OK",
        Verdict::Degraded => "DEGRADED",
        Verdict::Down => "DOWN",
    };
    let draining = if status.draining { "  draining" } else { "" };
    let Status { peers, reach, .. } = status;
    let noun = if *peers == 1 { "peer" } else { "peers" };
    format!("{word}  {peers} {noun}  reachable: {reach}{draining}")
}

fn show_status(to: &mut dyn Write, status: &Status) -> io::Result<()> {
    writeln!(to, "{}", verdict(status))?;
    if let Some(cause) = &status.cause {
        writeln!(to, "  cause    {cause}")?;
    }
    if let Some(fix) = &status.fix {
        writeln!(to, "  try      {fix}")?;
    }
    writeln!(to, "  peer id  {}", status.peer_id)?;
    for address in &status.listen {
        writeln!(to, "  listen   {address}")?;
    }
    writeln!(to, "  network  {} ({})", status.network, status.profile)?;
    if let Some(nodes) = &status.nodes {
        writeln!(to, "  nodes    {}", counted(nodes))?;
    }
    writeln!(to, "  socket   {}", status.socket)?;
    let up = duration(status.uptime_ms);
    writeln!(
        to,
        "  process  {}, version {}, up {up}",
        status.pid, status.version
    )
}

fn show_peers(to: &mut dyn Write, peers: &[PeerLine]) -> io::Result<()> {
    if peers.is_empty() {
        return writeln!(to, "no peer is connected");
    }
    let head = ["PEER", "VIA", "RTT", "LOSS", "VERSION", "ADDRESS"].map(str::to_owned);
    let rows = peers.iter().map(|line| {
        let via = match line.via {
            Via::Direct => "direct",
            Via::Relay => "relay",
        };
        vec![
            line.peer.clone(),
            via.to_owned(),
            line.rtt_ms
                .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms")),
            line.loss
                .map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0)),
            line.version.clone(),
            line.addr.clone(),
        ]
    });
    let rows: Vec<Vec<String>> = std::iter::once(head.to_vec()).chain(rows).collect();
    table(to, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            peer_id: "12D3".to_owned(),
            listen: vec!["/ip4/127.0.0.1/tcp/1/p2p/12D3".to_owned()],
            peers: 1,
            verdict: Verdict::Degraded,
            cause: Some("the disk is full".to_owned()),
            fix: Some("rm junk".to_owned()),
            version: "0.1.0".to_owned(),
            network: "main".to_owned(),
            profile: "home".to_owned(),
            socket: "/s".to_owned(),
            pid: 7,
            uptime_ms: 1_500,
            reach: "unknown".to_owned(),
            draining: false,
            nodes: None,
        }
    }

    #[test]
    fn the_first_line_is_the_verdict_and_the_cause_follows() {
        let mut text = Vec::new();
        show_status(&mut text, &status()).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "DEGRADED  1 peer  reachable: unknown");
        assert_eq!(
            lines[1..3],
            ["  cause    the disk is full", "  try      rm junk"]
        );
        assert!(lines[7].ends_with("up 1.5 s"));
    }

    #[test]
    fn a_peer_that_was_not_measured_shows_no_figures() {
        let line = PeerLine {
            peer: "12D3".to_owned(),
            addr: "/a".to_owned(),
            via: Via::Direct,
            rtt_ms: None,
            loss: Some(0.5),
            version: "0.1.0".to_owned(),
        };
        let mut text = Vec::new();
        show_peers(&mut text, &[line]).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.ends_with("12D3  direct  -    50.0 %  0.1.0    /a\n"),
            "{text}"
        );
    }
}
