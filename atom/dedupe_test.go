package atom_test

import (
	"context"
	"errors"
	"testing"

	"valence/atom"
	"valence/atom/run"
	"valence/internal/fault"
)

const keyed = `
process: stored
listen: { path: /stored, auth: none }
dedupe: { key: "${doc.id}", window: 1h }
steps:
  - stop: done
---
process: shared
listen: { path: /shared, auth: none }
dedupe: { key: "${doc.id}", window: 1h, scope: process }
steps:
  - stop: done
---
process: answers
listen: { path: /answers, output: json, auth: none, reply_modes: [sync, deferred] }
dedupe: { key: "${doc.id}", window: 1h }
steps:
  - reply: { secret: "${doc.text}" }
---
process: answers-shared
listen: { path: /answers-shared, output: json, auth: none, reply_modes: [sync, deferred] }
dedupe: { key: "${doc.id}", window: 1h, scope: process }
steps:
  - reply: { secret: "${doc.text}" }
---
process: merged
listen: { path: /merged, auth: none }
coalesce: { key: "${doc.id}", window: 1h }
steps:
  - stop: done
---
process: merged-shared
listen: { path: /merged-shared, auth: none }
coalesce: { key: "${doc.id}", window: 1h, scope: process }
steps:
  - stop: done
`

// from returns a message that a principal sent.
func from(principal, body string) *atom.Message {
	m := arrival(body)
	m.Principal, m.SHA256 = principal, run.HashBody(m.Doc)
	return m
}

// codeOf returns the code of a failure, or "".
func codeOf(err error) string {
	if f := (*fault.Failure)(nil); errors.As(err, &f) {
		return f.Code
	}
	return ""
}

// TestDedupeKeysBelongToTheirCaller checks that no caller receives the
// execution, the reply token or the reply of another one, suppresses its
// message, or replaces the body of a used key.
func TestDedupeKeysBelongToTheirCaller(t *testing.T) {
	r := start(t, newSystem(), nil, keyed)
	ctx := context.Background()
	accept := func(process, principal, body string) (*atom.Acknowledgement, string) {
		t.Helper()
		ack, err := r.atom.Accept(ctx, r.process(process), from(principal, body))
		if err != nil {
			return nil, codeOf(err)
		}
		return ack, ack.Status
	}
	first, _ := accept("stored", "alice", `{"id":1}`)
	if other, status := accept("stored", "bob", `{"id":1}`); status != "accepted" || other.Execution == first.Execution {
		t.Errorf("another caller: got %s, want an execution of its own", status)
	}
	if again, status := accept("stored", "alice", `{"id":1}`); status != "duplicate" || again.Execution != first.Execution || again.ReplyToken != first.ReplyToken {
		t.Errorf("a repeat: got %s, want a duplicate with the receipt of the first message", status)
	}
	if _, status := accept("stored", "alice", `{"id":1,"n":2}`); status != atom.CodeKeyReused {
		t.Errorf("another body: got %q, want %q", status, atom.CodeKeyReused)
	}
	if _, status := accept("stored", "", `{"id":"\u0000`+run.Hash([]byte("alice"))+`1"}`); status != "accepted" {
		t.Errorf("a forged scope: got %q, want accepted", status)
	}

	accept("shared", "alice", `{"id":1}`)
	if other, status := accept("shared", "bob", `{"id":1}`); status != "duplicate" || other.Execution != "" || other.ReplyToken != "" || other.Location != "" {
		t.Errorf("shared keys: got %+v, want a duplicate without the execution of another caller", other)
	}
	if _, status := accept("shared", "bob", `{"id":1,"n":2}`); status != atom.CodeKeyReused {
		t.Errorf("shared keys, another body: got %q, want %q", status, atom.CodeKeyReused)
	}
}

// TestDedupeRepliesBelongToTheirCaller is the same for replies.
func TestDedupeRepliesBelongToTheirCaller(t *testing.T) {
	r := start(t, newSystem(), nil, keyed)
	ctx := context.Background()
	for _, deferred := range []bool{false, true} {
		ask := func(process, principal, body string) string {
			t.Helper()
			in := from(principal, body)
			if !deferred {
				reply, err := r.atom.Request(ctx, r.process(process), in)
				if err != nil {
					return codeOf(err)
				}
				return string(reply.Doc.Body())
			}
			in.Deferred = &atom.DeferredReply{}
			ack, reply, err := r.atom.AcceptDeferred(ctx, r.process(process), in)
			switch {
			case err != nil:
				return codeOf(err)
			case ack != nil:
				r.ended(ack.Execution)
				return "new"
			}
			return string(reply.Doc.Body())
		}
		id := map[bool]string{false: "1", true: "2"}[deferred]
		body, reply := `{"id":`+id+`,"text":"mine"}`, `{"secret":"mine"}`
		first := map[bool]string{false: reply, true: "new"}[deferred]
		for _, c := range []struct{ process, principal, body, want string }{
			{"answers", "alice", body, first},
			{"answers", "alice", body, reply},
			{"answers", "bob", body, first},
			{"answers", "alice", `{"id":` + id + `,"text":"other"}`, atom.CodeKeyReused},
			{"answers-shared", "alice", body, first},
			{"answers-shared", "alice", body, reply},
			{"answers-shared", "bob", body, atom.CodeDuplicate},
			{"answers-shared", "bob", `{"id":` + id + `,"text":"other"}`, atom.CodeKeyReused},
		} {
			if got := ask(c.process, c.principal, c.body); got != c.want {
				t.Errorf("deferred %v: %s of %s, %s: got %s, want %s", deferred, c.process, c.principal, c.body, got, c.want)
			}
		}
	}
}

// TestCoalesceKeysBelongToTheirCaller checks that no caller supersedes the
// message of another one.
func TestCoalesceKeysBelongToTheirCaller(t *testing.T) {
	r := start(t, newSystem(), nil, keyed)
	ctx := context.Background()
	for process, want := range map[string]string{"merged": "waiting", "merged-shared": "superseded"} {
		first, err := r.atom.Accept(ctx, r.process(process), from("alice", `{"id":1}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.atom.Accept(ctx, r.process(process), from("bob", `{"id":1}`)); err != nil {
			t.Fatal(err)
		}
		v := r.shown(first.Execution)
		if v.Status != want {
			t.Errorf("%s: got status %s, want %s", process, v.Status, want)
		}
	}
}
