package run

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"time"

	"valence/atom/steps"
	"valence/internal/blob"
	"valence/internal/document"
)

// KV is a name and a value in an ordered list.
type KV struct{ Name, Value string }

// Request is the part of an HTTP request that a process may read.
type Request struct {
	Method string
	Path   string
	Params []KV // captures of the listener's path, in order
	Query  url.Values
	Header http.Header
	Hidden []string // canonical names of headers with credentials: neither shown nor stored
	User   string
	// Operation is the operation of a SOAP service; "" for other listeners.
	Operation string
}

// Message is one authenticated and parsed message, before the checks of its
// process.
type Message struct {
	Doc           *document.Document
	Request       *Request // nil: no HTTP request started it
	CorrelationID string
	Traceparent   string
	ReplyTo       string // address for a reply, in the form of the subscription's connector; ""
	Principal     string // the sender; "" for anonymous
	SHA256        string // hex digest of the body as received
	ContentHash   string // hex digest that is the same for each attempt to send the message; "": of SHA256 or the document
	Received      time.Time
	Props         *document.Object // nil: none
	Deferred      *DeferredReply   // nil: no reply is collected
	By            string           // BySchedule or BySubscription; "": a sender or an operator
	RequestID     string           // id of the request of ExecuteOnce; ""
}

// DeferredReply asks to keep the reply to a message until its sender collects it.
type DeferredReply struct {
	Callback string // URL to post the reply to as well; ""
}

// Reply is the reply of a request/reply process.
type Reply struct {
	Execution string
	Doc       *document.Document
	Status    int // 0 is 200
	Headers   []KV
	Blocks    []byte // header blocks of a SOAP envelope, as XML
	None      bool   // the path ended without a reply: an empty 200
	Duplicate bool   // the stored reply of an earlier request with the same dedupe key
}

// Answer is the acknowledgement that the `ack:` of a listener describes.
type Answer struct {
	Status  int
	Body    *document.Document // nil: the receipt
	Headers []KV
}

// StoredReply is a reply in the format of its listener, ready to send.
type StoredReply struct {
	Status  int
	Headers []KV
	Media   string // "" without a body
	Body    []byte
	Problem bool // Body is a problem document
}

// appendRequest appends the value of `request` as JSON text.
func appendRequest(dst []byte, in *Message) []byte {
	r := in.Request
	dst = append(dst, `{"method":`...)
	dst = document.AppendString(dst, r.Method)
	dst = append(dst, `,"path":`...)
	dst = document.AppendString(dst, r.Path)
	dst = append(dst, `,"params":{`...)
	for _, p := range r.Params {
		dst = document.AppendString(AppendMember(dst, p.Name), p.Value)
	}
	dst = append(dst, `},"query":`...)
	dst = appendQuery(dst, r.Query)
	dst = append(dst, `,"headers":`...)
	dst = steps.AppendHeaders(dst, r.Header, r.Hidden)
	dst = append(dst, `,"user":`...)
	if r.User == "" {
		dst = append(dst, "null"...)
	} else {
		dst = document.AppendString(dst, r.User)
	}
	dst = append(dst, `,"correlation_id":`...)
	dst = document.AppendString(dst, in.CorrelationID)
	if r.Operation != "" {
		dst = append(dst, `,"operation":`...)
		dst = document.AppendString(dst, r.Operation)
	}
	return append(dst, '}')
}

func appendQuery(dst []byte, values map[string][]string) []byte {
	if len(values) == 0 {
		return append(dst, "{}"...)
	}
	query := make(map[string]any, len(values))
	for k, v := range values {
		if len(v) == 1 {
			query[k] = v[0]
		} else {
			query[k] = v
		}
	}
	return document.AppendJSON(dst, document.FromPlain(query))
}

// Now returns the current time in UTC, truncated to the millisecond as it is stored.
func Now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// HashBody returns the hex digest of the body of a document. Stored files count
// with their content.
func HashBody(d *document.Document) string {
	sum := sha256.Sum256(blob.Stable(d.Body()))
	return hex.EncodeToString(sum[:])
}
