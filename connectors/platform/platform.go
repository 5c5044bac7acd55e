// Package platform is the connector for control planes. It requests the
// execution of a process on an atom that accepts no inbound requests, and reads
// the execution record. It uses the Execution Request API of the AtomSphere
// platform, and therefore works with `valence cloud` and other implementations.
//
// # Results and failures
//
//	code             when                                               retryable
//	connect          no connection; nothing was sent                    yes
//	timeout          the call timed out                                 yes
//	connection_lost  the connection broke before the end of the         yes
//	                 response
//	status           408 425 429 500 502 503 504                        yes
//	                 any other status that is not accepted              no
//	not_ended        record: the execution did not end within wait      yes
//	bad_answer       the response does not match the API                no
//	too_large        the response exceeds max_response                  no
//	bad_call         the call cannot be made; nothing was sent          no
//
// Execution requests carry the idempotency key of the call, so that a call
// repeated after a crash runs the process once.
package platform

import (
	"time"

	"valence/connectors"
	"valence/internal/access"
	"valence/internal/spec"
)

// Connector declares the connector. The version appears in User-Agent.
func Connector(version string) *connectors.Connector {
	return &connectors.Connector{
		Name:        "platform",
		Doc:         "Runs processes on atoms behind a firewall through a control plane: `valence cloud`, or another one with the AtomSphere platform API.",
		Settings:    settingsFields,
		Operations:  []connectors.Operation{executeOperation, recordOperation},
		NewSettings: func() any { return &settings{} },
		Check:       check,
		Open: func(s any, policy *access.Policy) (connectors.Connection, error) {
			return open(s.(*settings), version, policy)
		},
	}
}

// settings holds the settings of a connection.
type settings struct {
	URL            string
	Account        string
	User           string
	Token          string
	CA             string
	ConnectTimeout time.Duration
	IdleTimeout    time.Duration
	MaxResponse    int64
}

var settingsFields = []spec.Field{
	spec.String("url", func(s *settings) *string { return &s.URL },
		"URL of the control plane. It must be https unless the host is local. The default path is `/api/rest/v1`.").Eg("https://control.example").Required(),
	spec.String("account", func(s *settings) *string { return &s.Account }, "Account of the control plane.").Or("default"),
	spec.String("user", func(s *settings) *string { return &s.User }, "User of the API token, without the prefix `BOOMI_TOKEN.`.").Eg("relay@example.com").Required(),
	spec.String("token", func(s *settings) *string { return &s.Token }, "API token. It needs at least the role operator.").Secret().Required(),
	spec.String("ca", func(s *settings) *string { return &s.CA }, "CA certificates to trust instead of the system's: PEM or the path of a PEM file, relative to the folder of the project.").Local(),
	spec.Duration("connect_timeout", func(s *settings) *time.Duration { return &s.ConnectTimeout }, "Timeout for establishing a connection.").Or(10 * time.Second).Min(time.Millisecond),
	spec.Duration("idle_timeout", func(s *settings) *time.Duration { return &s.IdleTimeout }, "How long to keep an unused connection open.").Or(60 * time.Second).Min(time.Second),
	spec.Size("max_response", func(s *settings) *int64 { return &s.MaxResponse }, "Maximum size of a response. A larger response fails with `too_large`.").Or(10 << 20).Min(1),
}
