package client

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"valence/atom/agent/cloudclient"
	"valence/internal/clierror"
)

// ConnectError explains why a control plane could not be reached, or refused
// an atom.
func ConnectError(address string, err error) error {
	refused := (*cloudclient.ResponseError)(nil)
	if errors.As(err, &refused) {
		switch {
		case strings.HasSuffix(refused.Code, "_token"):
			return clierror.Invalid("create a new one with valence cloud install-token", "%s", refused.ErrorResponse.Error)
		case refused.Status == http.StatusServiceUnavailable || refused.Status == http.StatusTooManyRequests:
			return clierror.Failed("run the command again in a few seconds", "%v", err)
		case refused.Code == "":
			return notControlPlane(address, refused.Status)
		}
		return withHint(refused.ErrorResponse.Error)
	}
	if explained := connectionError(address, err); explained != nil {
		return explained
	}
	if cause := (*url.Error)(nil); errors.As(err, &cause) {
		err = cause.Err
	}
	return clierror.Failed("check that it runs and that this machine may connect to it; behind a proxy, set HTTPS_PROXY", "%s does not answer: %v", address, err)
}

// connectionError explains a failed connection to a control plane: its
// certificate, its name or a proxy. It returns nil for other causes.
func connectionError(address string, err error) error {
	authority, name, invalid := (x509.UnknownAuthorityError{}), (x509.HostnameError{}), (x509.CertificateInvalidError{})
	proxy, dns, op := (*cloudclient.ProxyError)(nil), (*net.DNSError)(nil), (*net.OpError)(nil)
	switch {
	case errors.As(err, &authority):
		return clierror.Failed("--ca FILE with the CA certificate", "the certificate of %s is signed by an unknown authority", address)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return clierror.Failed("renew the certificate, or set the clock of this machine", "the certificate of %s is not valid now: %v", address, invalid)
	case errors.As(err, &name):
		return clierror.Failed("use a host name of its certificate", "%v", name)
	case errors.As(err, &proxy) && (proxy.Status == http.StatusProxyAuthRequired || proxy.Status == http.StatusUnauthorized):
		return clierror.Failed("HTTPS_PROXY=http://USER:PASSWORD@"+proxy.Host, "%v", proxy)
	case errors.As(err, &proxy):
		return clierror.Failed("ask the proxy's operator to allow connections to "+address, "%v", proxy)
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return clierror.Failed("check the address in HTTPS_PROXY; NO_PROXY lists hosts that need no proxy", "the proxy does not answer: %v", op.Err)
	case errors.As(err, &dns):
		return clierror.Failed("check the address of the control plane; behind a proxy, set HTTPS_PROXY", "%v", dns)
	}
	return nil
}

// notControlPlane returns the error for a server that is not a control plane.
func notControlPlane(address string, status int) error {
	if host, plain := strings.CutPrefix(address, "http://"); plain && status == http.StatusBadRequest {
		return clierror.Failed("https://"+host, "the server at %s is not a control plane; it may require TLS", address)
	}
	return clierror.Failed("use the address of a control plane", "the server at %s is not a control plane: %d %s", address, status, http.StatusText(status))
}
