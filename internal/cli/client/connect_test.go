package client

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"valence/atom/agent/cloudclient"
)

func TestRefusalsOfProxiesAreReported(t *testing.T) {
	status := http.StatusProxyAuthRequired
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer proxy.Close()
	host := strings.TrimPrefix(proxy.URL, "http://")
	refusal := &cloudclient.ProxyError{Host: host, Status: status}
	err := &url.Error{Op: "Post", Err: refusal}
	if got := ConnectError("https://cloud.example", err); !strings.Contains(got.Error(), refusal.Error()) {
		t.Errorf("got %q, want %q", got, refusal)
	}
	u, err2 := url.Parse(proxy.URL)
	if err2 != nil {
		t.Fatal(err2)
	}
	for _, status = range []int{http.StatusProxyAuthRequired, http.StatusForbidden} {
		c := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(u), OnProxyConnectResponse: cloudclient.CheckProxyResponse}}
		_, err := c.Get("https://cloud.example")
		if refused := (*cloudclient.ProxyError)(nil); !errors.As(err, &refused) || refused.Status != status || refused.Host != host {
			t.Errorf("got %v, want status %d of %s", err, status, host)
		}
	}
}
