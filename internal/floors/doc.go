// Package floors holds the table of who may import whom, and the tests that
// hold the table against the real imports. It is tooling: nothing imports it.
package floors
