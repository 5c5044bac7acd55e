// Package platform is the connector to a control plane: it asks for a process
// to be executed on an atom that takes no calls itself, and reads what became
// of it. It speaks the Execution Request API of the AtomSphere platform, so it
// works with `valence cloud` and with any other that speaks it.
//
// # What counts as what
//
//	code             when                                               retryable
//	connect          no connection; nothing was sent                    yes
//	timeout          the call's time was over first                     yes
//	connection_lost  the connection broke before the answer was whole   yes
//	status           408 425 429 500 502 503 504                        yes
//	                 any other status that is not accepted              no
//	not_ended        record: the execution has not ended within wait    yes
//	bad_answer       the answer is not what the API gives               no
//	too_large        the answer is over max_response                    no
//	bad_call         the call cannot be made; nothing was sent          no
//
// An execution request carries the call's idempotency key, so that a call that
// is made again after a crash runs the process once.
package platform

import (
	"time"

	"valence/connectors"
	"valence/internal/spec"
)

// Connector declares the connector. The version is what it calls itself in User-Agent.
func Connector(version string) *connectors.Connector {
	return &connectors.Connector{
		Name:        "platform",
		Doc:         "A control plane, to have a process executed on an atom behind a firewall: `valence cloud`, or another that speaks the AtomSphere platform API.",
		Settings:    settingsFields,
		Operations:  operations(),
		NewSettings: func() any { return &settings{} },
		Check:       check,
		Open:        func(s any) (connectors.Connection, error) { return open(s.(*settings), version) },
	}
}

// settings is a connection, decoded.
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
		"Where the control plane is: https, unless it is on this machine. Without a path, /api/rest/v1 is meant.").Required(),
	spec.String("account", func(s *settings) *string { return &s.Account }, "The account there.").Or("default"),
	spec.String("user", func(s *settings) *string { return &s.User }, "The user that the API token belongs to; BOOMI_TOKEN. is put before it.").Required(),
	spec.String("token", func(s *settings) *string { return &s.Token }, "The API token. Its role must be operator or more.").Required(),
	spec.String("ca", func(s *settings) *string { return &s.CA }, "The only authorities that are trusted: certificates as PEM, or the path of a file of them."),
	spec.Duration("connect_timeout", func(s *settings) *time.Duration { return &s.ConnectTimeout }, "How long a connection may take to be made.").Or(10 * time.Second).Min(time.Millisecond),
	spec.Duration("idle_timeout", func(s *settings) *time.Duration { return &s.IdleTimeout }, "How long an unused connection is kept.").Or(60 * time.Second).Min(time.Second),
	spec.Size("max_response", func(s *settings) *int64 { return &s.MaxResponse }, "The largest answer. A larger one fails with too_large.").Or(10 << 20).Min(1),
}

// with is what one call of any operation is told.
type with struct {
	Process, ProcessID string
	Atom, AtomID       string
	Props              []spec.KV
	Document           bool
	Request            string
	Wait               time.Duration
}

func operations() []connectors.Operation {
	newWith := func() any { return &with{} }
	return []connectors.Operation{{
		Name: "execute", SendsBody: true, With: executeFields, NewWith: newWith,
		Doc: "Asks for a process to be executed on an atom, and does not wait for its end. The answer holds `request_id`, which `record` takes. A call that is made again, after a crash too, asks once.",
		Sample: "- call: cloud.execute\n  with:\n    process: fetch-order\n    atom: edge-01\n    props: { recordId: \"${doc.id}\" }\n" +
			"- call: cloud.record\n  with: { request: \"${doc.request_id}\", wait: 1m }\n",
	}, {
		Name: "record", Safe: true, With: recordFields, NewWith: newWith,
		Doc:    "Gives the execution record of a request, once the execution has ended: `status`, `executionId`, `message`, times and counts. An execution that failed is an answer too; look at `doc.status`.",
		Sample: "- call: cloud.record\n  with: { request: \"${doc.request_id}\", wait: 1m }\n- if: ${doc.status == \"ERROR\"}\n  then:\n    - throw: ${doc.message}\n",
	}}
}

var executeFields = []spec.Field{
	spec.String("process", func(w *with) *string { return &w.Process }, "The name of the process; or process_id."),
	spec.String("process_id", func(w *with) *string { return &w.ProcessID }, "The id of the process, where its name is not unique."),
	spec.String("atom", func(w *with) *string { return &w.Atom }, "The name of the atom; or atom_id, which other control planes than ours need."),
	spec.String("atom_id", func(w *with) *string { return &w.AtomID }, "The id of the atom."),
	spec.StringMap("props", func(w *with) *[]spec.KV { return &w.Props }, "What the process finds in `props`, each a text."),
	spec.Bool("document", func(w *with) *bool { return &w.Document },
		"Whether the document goes along, as the input of the process: the current one unless the call has `body`. Only our control plane carries it."),
}

var recordFields = []spec.Field{
	spec.String("request", func(w *with) *string { return &w.Request }, "The id of the request, as execute gave it.").Required(),
	spec.Duration("wait", func(w *with) *time.Duration { return &w.Wait },
		"How long to wait for the end of the execution; then it fails with not_ended, which is tried again as the call's `retry` says. Keep it below the call's `timeout`.").Or(20 * time.Second).Max(10 * time.Minute),
}
