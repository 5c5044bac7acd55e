// Package connectors is the contract between the runtime and its connectors.
// Each connector is a package of its own below this one.
package connectors

import (
	"context"
	"sort"

	"valence/internal/access"
	"valence/internal/fault"
	"valence/internal/spec"
)

// Connector declares a connector: the settings of its connections, their
// operations and what they can subscribe to.
type Connector struct {
	Name       string
	Doc        string
	Settings   []spec.Field // the keys of a `connection:`, bound to the value of NewSettings
	Operations []Operation
	// Subscription is nil unless the connections are Listeners.
	Subscription *Subscription
	// Describe returns the operations of a connection that depend on files of the
	// project, such as an interface description, and the problems of those files.
	// They replace Operations. It is called when a project is loaded, touches
	// nothing but files, and may be nil.
	Describe func(settings any, files Files) ([]Operation, fault.Problems)
	// NewSettings returns a pointer to the value that Settings decode into.
	NewSettings func() any
	// Open returns a connection with the decoded settings. It must not touch
	// the network: an atom starts even if the other system is down. The
	// connection dials hosts and opens local files only through policy, which is
	// nil if nothing is restricted.
	Open func(settings any, policy *access.Policy) (Connection, error)
	// Check returns the problems that no single field can find, such as
	// settings that exclude each other. Values may still be expressions. Check
	// may be nil.
	Check func(settings any) []string
}

// Files returns the content of a file of the project by its path, relative to
// the file that declares the connection.
type Files func(name string) ([]byte, bool)

// Operation returns the operation called name.
func (c *Connector) Operation(name string) (*Operation, bool) {
	return FindOperation(c.Operations, name)
}

// FindOperation returns the operation called name.
func FindOperation(list []Operation, name string) (*Operation, bool) {
	for i := range list {
		if list[i].Name == name {
			return &list[i], true
		}
	}
	return nil, false
}

// Connection is an open connection. It is safe for concurrent use.
type Connection interface {
	// Close releases the connection's resources. Running calls may fail.
	Close() error
}

// Inspector is implemented by connections that depend on this machine.
type Inspector interface {
	// Inspect returns why every call would fail now, and the remedy; nil if
	// none of that is known. It is called when the connection is deployed.
	Inspect() *Obstacle
}

// Preparer is implemented by connections that need something in the other
// system, which `valence connection prepare` creates.
type Preparer interface {
	// Prepare creates all that is missing and describes it. It returns "" if
	// nothing is missing.
	Prepare(ctx context.Context) (done string, err error)
}

// Obstacle is why a connection cannot be used now.
type Obstacle struct {
	Problem string
	Hint    string // the remedy
}

// Registry maps names to connectors.
type Registry map[string]*Connector

// Names returns the names in alphabetical order.
func (r Registry) Names() []string {
	names := make([]string, 0, len(r))
	for n := range r {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
