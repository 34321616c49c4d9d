//! The client of the hub's HTTP API, for agents, gateways and the command line.
