//! A router as a set of tables: carries plans out as RouterOS would, and nothing more.

use std::collections::BTreeMap;

use sitepeer::domain::{Endpoint, Site, SubnetSet};
use sitepeer::reconcile::decide::{Decision, Refused, decide};
use sitepeer::reconcile::entry::Entry;
use sitepeer::reconcile::observe::Observed;
use sitepeer::reconcile::plan::{Change, Op, Plan};
use sitepeer::reconcile::preflight::Session;
use sitepeer::routeros::menu::{self, Menu};

pub type Fields = Vec<(String, Vec<u8>)>;

/// Menus by path, rows in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Router {
    pub tables: BTreeMap<&'static str, Vec<Fields>>,
    next: u32,
}

pub fn all_menus() -> [&'static Menu; 25] {
    [
        &menu::RESOURCE,
        &menu::IDENTITY,
        &menu::CLOCK,
        &menu::USER,
        &menu::USER_GROUP,
        &menu::USER_ACTIVE,
        &menu::SERVICE,
        &menu::INTERFACE,
        &menu::WIREGUARD,
        &menu::PEERS,
        &menu::INTERFACE_LIST,
        &menu::LIST_MEMBER,
        &menu::IP_ADDRESS,
        &menu::IP_ADDRESS6,
        &menu::IP_ROUTE,
        &menu::IP_ROUTE6,
        &menu::ROUTING_TABLE,
        &menu::FILTER,
        &menu::FILTER6,
        &menu::NAT,
        &menu::NAT6,
        &menu::MANGLE,
        &menu::MANGLE6,
        &menu::ADDRESS_LIST,
        &menu::ADDRESS_LIST6,
    ]
}

impl Router {
    /// A router with a LAN, a WAN, users, and nothing else.
    pub fn bare() -> Self {
        let mut router = Self { tables: all_menus().iter().map(|m| (m.path, Vec::new())).collect(), next: 0x100 };
        router.add(&menu::RESOURCE, &["version=7.20.8 (stable)"]);
        router.add(&menu::CLOCK, &["date=2026-11-21", "time=10:00:00", "gmt-offset=+00:00"]);
        router.add(&menu::USER, &["name=admin", "group=full"]);
        router.add(&menu::USER_GROUP, &["name=full", "policy=read,write,test,api,sensitive,!romon"]);
        for name in ["ether1", "bridge"] {
            router.add(&menu::INTERFACE, &[&format!("name={name}"), "running=true", "disabled=false"]);
        }
        router.add(
            &menu::IP_ADDRESS,
            &["address=192.168.88.1/24", "interface=bridge", "disabled=false", "dynamic=false"],
        );
        router.add(&menu::IP_ADDRESS, &["address=203.0.113.7/24", "interface=ether1", "dynamic=true"]);
        router.add(&menu::IP_ADDRESS6, &["address=fd88::1/64", "interface=bridge", "disabled=false"]);
        router.add(&menu::IP_ROUTE, &["dst-address=192.168.88.0/24", "gateway=bridge", "dynamic=true", "active=true"]);
        router.add(&menu::IP_ROUTE, &["dst-address=0.0.0.0/0", "gateway=203.0.113.1", "dynamic=true", "active=true"]);
        router
    }

    /// With `MikroTik`'s default firewall. *Source:* the default configuration's script, as in its manual.
    pub fn defconf() -> Self {
        let mut router = Self::bare();
        for rule in [
            &["chain=input", "action=accept", "connection-state=established,related,untracked"][..],
            &["chain=input", "action=drop", "connection-state=invalid"],
            &["chain=input", "action=accept", "protocol=icmp"],
            &["chain=input", "action=accept", "dst-address=127.0.0.1"],
            &["chain=input", "action=drop", "in-interface-list=!LAN"],
            &["chain=forward", "action=accept", "ipsec-policy=in,ipsec"],
            &["chain=forward", "action=accept", "ipsec-policy=out,ipsec"],
            &["chain=forward", "action=fasttrack-connection", "connection-state=established,related"],
            &["chain=forward", "action=accept", "connection-state=established,related,untracked"],
            &["chain=forward", "action=drop", "connection-state=invalid"],
            &[
                "chain=forward",
                "action=drop",
                "connection-state=new",
                "connection-nat-state=!dstnat",
                "in-interface-list=WAN",
            ],
        ] {
            router.add(&menu::FILTER, rule);
        }
        router
            .add(&menu::NAT, &["chain=srcnat", "action=masquerade", "ipsec-policy=out,none", "out-interface-list=WAN"]);
        router
    }

    pub fn add(&mut self, menu: &Menu, pairs: &[&str]) -> String {
        let pairs = pairs.iter().map(|p| p.split_once('=').unwrap());
        let fields = pairs.map(|(n, v)| (n.to_owned(), v.as_bytes().to_vec())).collect();
        self.insert(menu.path, fields, None)
    }

    fn insert(&mut self, path: &str, mut fields: Fields, before: Option<&[u8]>) -> String {
        self.next += 1;
        let id = format!("*{:X}", self.next);
        fields.insert(0, (".id".into(), id.clone().into_bytes()));
        let rows = self.tables.get_mut(path).unwrap();
        let at = before.map_or(rows.len(), |before| rows.iter().position(|row| row[0].1 == before).unwrap());
        rows.insert(at, fields);
        id
    }

    pub fn rows(&self, menu: &Menu) -> &[Fields] {
        &self.tables[menu.path]
    }

    pub fn observed(&self) -> Observed {
        Observed::new(all_menus().into_iter().map(|menu| {
            let rows = self.rows(menu).iter();
            (menu, rows.map(|row| Entry::new(row.iter().map(|(n, v)| (n.as_str(), v.as_slice())))).collect())
        }))
    }

    pub fn carry_out(&mut self, plan: &Plan) {
        plan.ops.iter().for_each(|op| self.carry_out_one(op));
    }

    pub fn carry_out_one(&mut self, op: &Op) {
        let path = op.menu.path;
        match &op.change {
            Change::Add { fields, comment, before } => {
                let mut row: Fields = fields.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().into())).collect();
                row.push(("comment".into(), comment.clone().into_bytes()));
                if op.menu == &menu::WIREGUARD {
                    row.push(("public-key".into(), b"cm91dGVy".to_vec()));
                }
                self.insert(path, row, before.as_deref());
            }
            Change::Set { id, fields } => {
                let row = self.row(path, id);
                for field in fields {
                    row.retain(|(name, _)| name != field.name);
                    row.push((field.name.to_owned(), field.to.as_bytes().into()));
                }
            }
            Change::Unset { id, field, .. } => self.row(path, id).retain(|(name, _)| name != field),
            Change::Move { id, before } => {
                let rows = self.tables.get_mut(path).unwrap();
                let row = rows.remove(rows.iter().position(|row| row[0].1 == *id).unwrap());
                let at = rows.iter().position(|row| row[0].1 == *before).unwrap();
                rows.insert(at, row);
            }
            Change::Remove { id } => {
                let rows = self.tables.get_mut(path).unwrap();
                rows.remove(rows.iter().position(|row| row[0].1 == *id).unwrap());
            }
        }
    }

    pub fn row(&mut self, path: &str, id: &[u8]) -> &mut Fields {
        self.tables.get_mut(path).unwrap().iter_mut().find(|row| row[0].1 == id).unwrap()
    }

    /// The rows without a marker, in order: they must never change.
    pub fn foreign(&self) -> Vec<(&'static str, Fields)> {
        let is_foreign = |row: &Fields| !row.iter().any(|(n, v)| n == "comment" && v.starts_with(b"sitepeer:"));
        let all = self.tables.iter().flat_map(|(path, rows)| rows.iter().map(|row| (*path, row.clone())));
        all.filter(|(_, row)| is_foreign(row)).collect()
    }

    /// The state without ids.
    pub fn state(&self) -> Vec<(&'static str, Vec<Fields>)> {
        let bare = |row: &Fields| {
            let mut row = row[1..].to_vec();
            row.sort();
            row
        };
        self.tables.iter().map(|(path, rows)| (*path, rows.iter().map(bare).collect())).collect()
    }
}

pub fn set(nets: &[&str]) -> SubnetSet {
    nets.iter().map(|net| net.parse::<ipnet::IpNet>().unwrap()).collect()
}

/// The site.
pub fn site() -> Site {
    Site {
        id: "k3f9q2".parse().unwrap(),
        instance: "acme".parse().unwrap(),
        tunnel: sitepeer::domain::Tunnel {
            addresses: vec!["10.99.0.2/24".parse().unwrap()],
            mtu: Some(1420),
            listen_port: Some(13231),
            probe: vec!["10.99.0.1".parse().unwrap()],
        },
        hub: sitepeer::domain::Hub {
            public_key: "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".parse().unwrap(),
            endpoints: vec!["198.51.100.9:51820".parse::<Endpoint>().unwrap()],
            preshared_key: Some("yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=".parse().unwrap()),
            keepalive: Some(std::time::Duration::from_secs(25)),
        },
        advertise: set(&["192.168.88.0/24"]),
        reach: set(&["10.99.0.0/24", "192.168.89.0/24"]),
        routing: sitepeer::domain::Routing::default(),
        generation: 0,
        beside: None,
        fence: None,
    }
}

pub fn session() -> Session {
    Session {
        user: "admin".into(),
        local: "192.168.88.10".parse().unwrap(),
        endpoint_addresses: Vec::new(),
        now: 1_795_255_200, // 2026-11-21 10:00 UTC
        writes: true,
    }
}

pub fn decided(site: &Site, router: &Router) -> Result<Decision, Refused> {
    decide(site, &router.observed(), &session(), 1000)
}

/// Plans and carries out; the plan after it must be empty.
pub fn converge(site: &Site, router: &mut Router) -> Plan {
    let plan = decided(site, router).unwrap().plan;
    router.carry_out(&plan);
    let after = decided(site, router).unwrap().plan;
    assert!(after.is_empty(), "not settled: {:#?}", after.ops.iter().map(ToString::to_string).collect::<Vec<_>>());
    plan
}
