package httpclient

import (
	"context"
	"crypto/tls"
	nethttp "net/http"
	"net/url"
	"time"
)

// The limits of connections. The timeout of a call may be shorter.
const (
	DialTimeout      = 10 * time.Second // per attempt
	HandshakeTimeout = 10 * time.Second
	MaxHeaderBytes   = 256 << 10
)

const (
	maxIdlePerHost = 1024             // idle connections are closed after a while
	pingAfter      = 30 * time.Second // HTTP/2: silence before a connection is probed
	pingTimeout    = 10 * time.Second
)

// Proxy returns the proxy for a request, or nil.
type Proxy func(*nethttp.Request) (*url.URL, error)

// Transport returns a transport that still needs a dialer; see access.Policy.Guard.
func Transport(idle time.Duration, t *tls.Config, proxy Proxy) *nethttp.Transport {
	return &nethttp.Transport{
		Proxy: proxy,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *nethttp.Request, r *nethttp.Response) error {
			if r.StatusCode != nethttp.StatusOK {
				return &proxyRefusal{r.Status}
			}
			return nil
		},
		TLSClientConfig:        t,
		TLSHandshakeTimeout:    HandshakeTimeout,
		DisableCompression:     true, // decompressed by ReadBody, within the limit
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idle,
		MaxResponseHeaderBytes: MaxHeaderBytes,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &nethttp.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
}
