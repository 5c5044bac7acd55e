package run

import (
	"crypto/sha256"
	"strings"
	"time"

	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/fault"
	"valence/processes"
)

// Failures of a message whose dedupe key was used before.
const (
	CodeInProgress = "in_progress" // its first request still runs: 409 with Retry-After
	CodeKeyReused  = "key_reused"  // its first message has another body: 422
	CodeDuplicate  = "duplicate"   // its reply belongs to another caller: 409
)

// A holder identifies the message and the sender of a dedupe key: parts of the
// hashes of the body and of the principal.
const (
	holderBody   = 16
	holderSender = 16
)

// holderOf returns the store.Dedupe.Holder of a message.
func holderOf(in *Message) []byte {
	body, sender := sha256.Sum256([]byte(contentHash(in))), sha256.Sum256([]byte(in.Principal))
	return append(body[:holderBody:holderBody], sender[:holderSender]...)
}

// contentHash returns a digest of the body of a message. Senders of multipart
// bodies make a new boundary for each attempt, so the fields count.
func contentHash(in *Message) string {
	if in.ContentHash != "" {
		return in.ContentHash
	}
	if strings.HasPrefix(in.Doc.MediaType(), "multipart/") {
		return Hash([]byte(in.Doc.Data()))
	}
	if in.SHA256 != "" {
		return in.SHA256
	}
	return HashBody(in.Doc)
}

// dedupeOf returns the dedupe key of a message; nil if it has none.
func (g *Engine) dedupeOf(f *steps.Frame, d *processes.Dedupe, in *Message) (*store.Dedupe, error) {
	if d == nil {
		return nil, nil
	}
	v, err := d.Key.Eval(f.Env())
	if err != nil {
		return nil, err
	}
	if v == nil && d.AcceptMissing {
		return nil, nil
	}
	key, err := keyText(d.Key, v, "dedupe", "the message has no key to detect repeats by")
	if err != nil || key == "" {
		return nil, err
	}
	return &store.Dedupe{Key: scopedKey(key, in.Principal, d.Shared), Until: g.Clock.Now().Add(d.Window), Holder: holderOf(in)}, nil
}

// scopedKey returns a key of a message that no other principal can use, unless
// the callers share their keys.
func scopedKey(key, principal string, shared bool) string {
	if strings.HasPrefix(key, "\x00") { // of an owner
		key = "sha256:" + Hash([]byte(key))
	}
	if shared || principal == "" {
		return key
	}
	return "\x00" + Hash([]byte(principal)) + key
}

// CheckRepeat compares a message with the first one of its dedupe key. It fails
// if that had another body. others reports that it was sent by another caller,
// who alone may learn of its execution.
func CheckRepeat(holder []byte, d *store.Dedupe, shared bool) (others bool, err error) {
	switch {
	case len(holder) != len(d.Holder): // accepted by an older version
		return shared, nil
	case string(holder[:holderBody]) != string(d.Holder[:holderBody]):
		return false, &fault.Failure{Code: CodeKeyReused, Source: fault.FromAtom, Status: 422,
			Message: "the dedupe key belongs to an earlier message with another body"}
	}
	return string(holder) != string(d.Holder), nil
}

// repeatedReply returns the reply for a message whose dedupe key has been
// claimed.
func repeatedReply(taken *store.Claimed, d *store.Dedupe, shared bool) (*Reply, error) {
	others, err := CheckRepeat(taken.Holder, d, shared)
	switch {
	case err != nil:
		return nil, err
	case taken.Reply == nil:
		return nil, &fault.Failure{Code: CodeInProgress, Source: fault.FromAtom, Status: 409, RetryAfter: time.Second, Retryable: true,
			Message: "a request with the same dedupe key is in progress"}
	case others:
		return nil, &fault.Failure{Code: CodeDuplicate, Source: fault.FromAtom, Status: 409,
			Message: "another caller has sent this message before; the reply belongs to that caller"}
	}
	r, err := unpackReply(taken.Reply)
	if err != nil {
		return nil, err
	}
	if r.Doc == nil || r.Doc.MediaType() == "" && len(r.Doc.Body()) == 0 && r.Status == 0 {
		r.None = true
	}
	r.Duplicate = true
	return r, nil
}
