package mask

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestHeadersHideCredentials(t *testing.T) {
	for _, test := range []struct{ name, value, want string }{
		{"Set-Cookie", "session=s3cr3t; Path=/; HttpOnly", "session=[secret]; Path=/; HttpOnly"},
		{"set-cookie", "a=b=c", "a=[secret]"},
		{"Set-Cookie", "bare", "[secret]"},
		{"Set-Cookie", "bare; Path=/", "[secret]; Path=/"},
		{"Set-Cookie", "", ""},
		{"Authorization", "Bearer abc", "[secret]"},
		{"X-Auth-Token", "abc", "[secret]"},
		{"Authentication-Info", `nextnonce="x"`, "[secret]"},
		{"Www-Authenticate", `Bearer realm="shop", error="invalid_token"`, `Bearer realm="shop", error="invalid_token"`},
		{"WWW-Authenticate", `Digest realm="shop", nonce="a\"b", opaque=xyz, qop="auth"`, `Digest realm="shop", nonce=[secret], opaque=[secret], qop="auth"`},
		{"Www-Authenticate", "Negotiate YIIBhwYG+/==", "Negotiate [secret]"},
		{"Proxy-Authenticate", "NTLM TlRMTVNTUAAB", "NTLM [secret]"},
		{"Content-Type", "application/json", "application/json"},
		{"Location", "/orders/1", "/orders/1"},
	} {
		h := http.Header{test.name: {test.value}, "X-Other": {"stays"}}
		if got := Headers(h); !reflect.DeepEqual(got, http.Header{test.name: {test.want}, "X-Other": {"stays"}}) {
			t.Errorf("%s: %s: got %v, want %s", test.name, test.value, got, test.want)
		}
		if h[test.name][0] != test.value {
			t.Errorf("%s: the argument was changed to %v", test.name, h)
		}
	}
	if Headers(nil) != nil {
		t.Error("got headers of nothing, want nil")
	}
	long := http.Header{"Www-Authenticate": {strings.Repeat(`nonce="`, 100_000)}}
	if got := Headers(long)["Www-Authenticate"][0]; len(got) > len(long["Www-Authenticate"][0])+100_000*len(Text) {
		t.Errorf("got %d bytes", len(got))
	}
}
