// Package processes defines projects and the compiled plans of their
// processes: immutable values that the runtime executes. It needs no network,
// clock, database or secret.
//
// Package loader compiles plans from YAML files, package analysis proves
// properties of them, and package explain describes them.
package processes

import (
	"time"

	"valence/connectors"
	"valence/internal/convert"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/profile"
)

// File is one file of a project.
type File struct {
	Name    string // slash-separated path, as printed in problems
	Content []byte
	// Folder is the absolute path of the project's folder on this machine;
	// "" if the project comes from a package.
	Folder string `json:"-"`
}

// Project holds the checked components of one project.
type Project struct {
	Processes    map[string]*Process
	Connections  map[string]*Connection
	Auths        map[string]*Auth
	Profiles     map[string]*Profile
	Environments map[string]*Environment
	Tests        []*Test  // in the order of the files
	Defaults     Defaults // from the `project:` component
	Kinds        map[string]*StepKind
	// Needs lists each read of an environment value, in the order of the files.
	Needs []Need
}

// Catalog holds the steps and connectors that a project may use.
type Catalog struct {
	Steps      []StepKind
	Connectors connectors.Registry
	Own        bool // the files are the atom's own components, whose names may begin with valence-
}

// Defaults holds the project-wide settings.
type Defaults struct {
	Name      string
	OnFailure string // process started for each failure; empty means none
	Retry     *Retry
	Retention Retention
	Redact    []string
}

// Connection is a connector configured for one system. Its settings may hold
// expressions over env and secret; Resolve evaluates them.
type Connection struct {
	Name      string
	Connector *connectors.Connector
	Pos       fault.Pos
	Hash      string
	Settings  *expression.Template // including the limits
	// Operations are those that the connector has for this connection.
	Operations []connectors.Operation
	Folder     string // that relative paths of the settings start from; see File
	// Idempotent is empty if the connection does not declare it.
	Idempotent Idempotency
}

// Circuit configures the circuit breaker of a connection.
type Circuit struct {
	Failures int           // consecutive failures that open it; 0 disables it
	Probe    time.Duration // between probe calls
}

// ConnectionLimits bound the use of one connection. Zero means unlimited.
type ConnectionLimits struct {
	Timeout     time.Duration // of one attempt of a call without its own timeout
	Concurrency int           // concurrent calls
	Circuit     Circuit
	Rate        float64 // calls per second
}

// Auth configures how callers authenticate. Its settings may hold expressions
// over env and secret; Resolve evaluates them for package authn.
type Auth struct {
	Name     string
	Scheme   string // none, api_key, basic, bearer, jwt, hmac, mtls or wss
	Pos      fault.Pos
	Settings *expression.Template
}

// Profile describes the shape of a message.
type Profile struct {
	Name   string
	Pos    fault.Pos
	Hash   string
	Schema *profile.Schema
	Source []byte         // the schema as JSON text
	Shape  *convert.Shape // of the data view of XML messages
}

// Need is one read of an environment value.
type Need struct {
	Kind string // env or secret
	Name string
	Pos  fault.Pos
}

// Environment holds the values, secrets and connection overrides of one environment.
type Environment struct {
	Name        string
	Pos         fault.Pos
	Values      map[string]string
	Secrets     map[string]SecretSource
	Connections map[string]*expression.Template // settings that replace a connection's
}

// SecretSource is the location of a secret. Exactly one field is set.
type SecretSource struct {
	File     string
	Variable string
}
