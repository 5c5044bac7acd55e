// Package archtest checks the import rules of docs/architecture.md against the
// real imports. Nothing imports it.
package archtest
