// Package networks runs the relay example through real networks: a cloud, a
// firewall and a site, each in a network namespace. The tests need root and fail
// with a clear message without it.
package networks
