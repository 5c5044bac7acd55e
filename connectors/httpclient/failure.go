// Package httpclient holds the parts of connectors that speak HTTP: transports,
// the bounded reading of responses, and the classification of failures.
package httpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptrace"
	"sync/atomic"

	"valence/connectors"
	"valence/internal/fault"
)

// phase says how far a request got before it failed.
type phase struct {
	connected bool // a connection was established
	answered  bool // a part of the response arrived
}

// Progress records how far a request got. The zero value is ready for one
// request.
type Progress struct {
	trace               httptrace.ClientTrace
	connected, answered atomic.Bool
}

// Trace returns a context for the request. got is called with the connection,
// and may be nil.
func (p *Progress) Trace(ctx context.Context, got func(net.Conn)) context.Context {
	p.trace.GotConn = func(info httptrace.GotConnInfo) {
		p.connected.Store(true)
		if got != nil {
			got(info.Conn)
		}
	}
	p.trace.GotFirstResponseByte = func() { p.answered.Store(true) }
	return httptrace.WithClientTrace(ctx, &p.trace)
}

// Failure returns the failure of a request that failed with err.
func (p *Progress) Failure(ctx context.Context, err error, what string) *fault.Failure {
	return classify(ctx, err, phase{connected: p.connected.Load(), answered: p.answered.Load()}, what)
}

// classify returns the failure of a request without a complete response.
func classify(ctx context.Context, err error, at phase, what string) *fault.Failure {
	if f := connectors.Interrupted(ctx, what); f != nil {
		return f
	}
	var refused *proxyRefusal
	switch {
	case errors.As(err, &refused):
		return connectors.Failf(fault.CodeConnect, true, err, "%s: %v", what, refused)
	case !at.connected || handshake(err):
		return connectors.Failf(fault.CodeConnect, true, err, "%s: no connection: %v", what, err)
	case broken(err) || !at.answered:
		return connectors.Failf(fault.CodeAborted, true, err, "%s: the connection broke before the response was complete: %v", what, err)
	}
	// A truncated header is indistinguishable from an invalid one.
	return connectors.Failf(fault.CodeAnswer, true, err, "%s: the response is not HTTP: %v", what, err)
}

// handshake reports whether TLS failed. With TLS 1.3, a server rejects a client
// certificate only after the client has started to send.
func handshake(err error) bool {
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var op *net.OpError
	return errors.As(err, &cert) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.Is(err, nethttp.ErrSchemeMismatch) || errors.As(err, &op) && op.Op == "remote error"
}

// broken reports whether the connection ended, rather than sent invalid data.
func broken(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &op)
}

// proxyRefusal is the response of a proxy that does not connect.
type proxyRefusal struct{ status string }

func (p *proxyRefusal) Error() string { return "the proxy returned " + p.status }
