// Package firewall runs the relay example through real networks: a cloud, a
// firewall, and a site behind it, each a network namespace of its own. Its
// tests need root, and say so where they are not.
package firewall
