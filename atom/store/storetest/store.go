// Package storetest contains the conformance suite for stores, and names the
// in-memory store as tests use it.
package storetest

import "valence/atom/store/memory"

// Store is the in-memory store.
type Store = memory.Store

// NewStore returns an empty store on the clock of the machine.
func NewStore() *Store { return memory.New(nil) }
