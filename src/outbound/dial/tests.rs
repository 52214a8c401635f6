use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ipnet::IpNet;
use tokio::net::TcpListener;

use super::*;

/// Gives the same addresses for every name, and counts.
#[derive(Debug)]
struct Names {
    addresses: Mutex<Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Names {
    /// The answers to one question after the other; the last one stays.
    fn answering(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        let mut addresses: Vec<Vec<IpAddr>> = answers.iter().map(parse).collect();
        addresses.reverse();
        Arc::new(Self { addresses: Mutex::new(addresses), asked: AtomicUsize::new(0) })
    }
}

impl Resolve for Names {
    fn resolve<'call>(&'call self, _: &'call str) -> BoxFuture<'call, io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut addresses = self.addresses.lock().unwrap();
        let answer =
            if addresses.len() > 1 { addresses.pop().unwrap() } else { addresses.last().cloned().unwrap_or_default() };
        async move { Ok(answer) }.boxed()
    }
}

fn policy(ranges: &[&str]) -> AddressPolicy {
    AddressPolicy::new(ranges.iter().map(|range| range.parse::<IpNet>().unwrap()))
}

/// A listener on every loopback address that counts who comes.
async fn trap() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let caught = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&caught);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    (port, caught)
}

#[tokio::test]
async fn a_name_that_leads_to_a_special_address_gets_no_packet() {
    let (port, caught) = trap().await;
    for address in
        ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1", "fd00::1", "64:ff9b::7f00:1", "0.0.0.0"]
    {
        let dialer = Dialer::new(Names::answering(&[&[address]]), AddressPolicy::default());
        for host in ["internal.example.org", "2130706433", "localhost"] {
            let refused = dialer.dial(host, port, true).await.unwrap_err();
            let expected = DialError::AddressNotAllowed {
                host: host.to_owned(),
                refusal: AddressRefusal::Special(address.parse::<IpAddr>().unwrap().to_canonical()),
            };
            assert_eq!(refused, expected, "{host} at {address}");
        }
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(caught.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_literal_address_is_judged_without_a_resolver() {
    let names = Names::answering(&[&["8.8.8.8"]]);
    let dialer = Dialer::new(Arc::clone(&names) as Arc<dyn Resolve>, AddressPolicy::default());
    for host in ["127.0.0.1", "::1", "::ffff:10.0.0.1"] {
        let refused = dialer.dial(host, 443, true).await.unwrap_err();
        assert!(matches!(refused, DialError::AddressNotAllowed { .. }), "{host}: {refused}");
    }
    assert_eq!(names.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn only_the_addresses_that_passed_are_dialled() {
    let (port, caught) = trap().await;
    let names = Names::answering(&[&["10.0.0.1", "192.168.0.1", "127.0.0.1"]]);
    let dialer = Dialer::new(names, policy(&["127.0.0.0/8"]));
    let stream = dialer.dial("ehr.example.org", port, false).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), SocketAddr::from(([127, 0, 0, 1], port)));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(caught.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_judged_again_each_time_and_resolved_once_a_call() {
    let (port, caught) = trap().await;
    let names = Names::answering(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let dialer = Dialer::new(Arc::clone(&names) as Arc<dyn Resolve>, policy(&["127.0.0.0/8"]));
    dialer.dial("rebinding.example.org", port, true).await.unwrap();
    assert_eq!(names.asked.load(Ordering::Relaxed), 1);
    let refused = dialer.dial("rebinding.example.org", port, true).await.unwrap_err();
    assert!(matches!(refused, DialError::AddressNotAllowed { .. }));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(caught.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn plain_http_goes_to_opened_ranges_alone() {
    let dialer = Dialer::new(Names::answering(&[&["8.8.8.8"]]), policy(&["127.0.0.0/8"]));
    let refused = dialer.dial("ehr.example.org", 80, false).await.unwrap_err();
    let expected =
        DialError::AddressNotAllowed { host: "ehr.example.org".to_owned(), refusal: AddressRefusal::PlainHttp };
    assert_eq!(refused, expected);
}

#[tokio::test]
async fn a_dead_address_costs_a_moment_and_the_next_one_is_taken() {
    let (port, _) = trap().await;
    // Nobody listens on the second loopback address.
    let dialer = Dialer::new(Names::answering(&[&["127.0.0.2", "127.0.0.1"]]), policy(&["127.0.0.0/8"]));
    let stream = dialer.dial("ehr.example.org", port, false).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap().ip(), IpAddr::from([127, 0, 0, 1]));
}

#[tokio::test]
async fn a_name_without_addresses_is_said_to_have_none() {
    let dialer = Dialer::new(Names::answering(&[&[]]), AddressPolicy::default());
    let error = dialer.dial("ehr.example.org", 443, true).await.unwrap_err();
    assert_eq!(error.to_string(), "the name ehr.example.org cannot be resolved: it has no addresses");
}

#[test]
fn families_take_turns() {
    let addresses = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
    assert_eq!(
        interleave(addresses(&["[2606::1]:1", "[2606::2]:1", "1.1.1.1:1", "1.1.1.2:1", "1.1.1.3:1"])),
        addresses(&["[2606::1]:1", "1.1.1.1:1", "[2606::2]:1", "1.1.1.2:1", "1.1.1.3:1"])
    );
}
