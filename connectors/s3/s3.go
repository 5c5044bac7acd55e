// Package s3 is the connector for object stores with the interface of Amazon S3.
package s3

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"valence/connectors"
	"valence/connectors/httpclient"
	"valence/connectors/tlsconfig"
	"valence/internal/access"
	"valence/internal/spec"
)

// Failure codes besides those of package fault.
const (
	CodeAuth    = "auth"      // the store refuses the key or the operation
	CodeMissing = "not_found" // the bucket or the object does not exist
	CodeBadCall = "bad_call"
)

type settings struct {
	URL, Region          string
	AccessKey, SecretKey string
	PathStyle            bool
	TLS                  tlsconfig.Settings
	MaxSize              int64
}

// Connector declares the connector.
func Connector(string) *connectors.Connector {
	return &connectors.Connector{
		Name:         "s3",
		Doc:          "Reads, writes, lists, deletes and watches objects in a store with the interface of Amazon S3, and creates signed URLs.",
		Settings:     settingsFields,
		NewSettings:  func() any { return &settings{} },
		Operations:   []connectors.Operation{getOperation, putOperation, listOperation, deleteOperation, presignOperation},
		Subscription: subscription(),
		Check:        func(v any) []string { return v.(*settings).check() },
		Open: func(v any, policy *access.Policy) (connectors.Connection, error) {
			return open(v.(*settings), policy)
		},
	}
}

var settingsFields = []spec.Field{
	spec.String("url", func(s *settings) *string { return &s.URL }, "URL of the store, without a bucket.").Or("https://s3.amazonaws.com"),
	spec.String("region", func(s *settings) *string { return &s.Region }, "Region of the buckets.").Or("us-east-1"),
	spec.String("access_key", func(s *settings) *string { return &s.AccessKey }, "Access key.").Eg("${env.S3_KEY}").Required(),
	spec.String("secret_key", func(s *settings) *string { return &s.SecretKey }, "Secret key.").Secret().Required(),
	spec.Bool("path_style", func(s *settings) *bool { return &s.PathStyle }, "Whether the bucket is written in the path instead of the host name. Most stores other than Amazon's need it."),
	spec.Object("tls", func(s *settings) *tlsconfig.Settings { return &s.TLS }, "TLS settings. The minimum version is TLS 1.2.", tlsconfig.Fields...),
	spec.Size("max_size", func(s *settings) *int64 { return &s.MaxSize }, "Maximum size of an object to read.").Or(64 << 20).Min(1).Max(5 << 40),
}

// check returns the problems that no single field can find. Values may still be
// expressions.
func (s *settings) check() []string {
	wrong := s.TLS.Check()
	if !spec.Literal(s.URL) {
		return wrong
	}
	u, err := url.Parse(s.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "":
		wrong = append(wrong, "url must be the URL of a store without a path, such as https://s3.eu-west-1.amazonaws.com")
	case u.Scheme == "http" && s.TLS != (tlsconfig.Settings{}):
		wrong = append(wrong, "tls: applies only to an https:// url")
	}
	return wrong
}

// connection is an open connection.
type connection struct {
	store   *minio.Client
	maxSize int64
	close   func()
}

var _ connectors.Listener = (*connection)(nil)

// idle is how long a connection stays open without requests.
const idle = 30 * time.Second

// open returns a connection without touching the network.
func open(s *settings, policy *access.Policy) (*connection, error) {
	if wrong := s.check(); len(wrong) > 0 {
		return nil, errors.New(strings.Join(wrong, "; "))
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, errors.New("url is not valid")
	}
	if err := policy.CheckURL(u); err != nil {
		return nil, err
	}
	config, err := s.TLS.Config(policy)
	if err != nil {
		return nil, err
	}
	transport := httpclient.Transport(idle, config, nil)
	policy.Guard(transport, net.Dialer{Timeout: httpclient.DialTimeout})
	lookup := minio.BucketLookupAuto
	if s.PathStyle {
		lookup = minio.BucketLookupPath
	}
	store, err := minio.New(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""), Secure: u.Scheme == "https", Transport: conditional{transport},
		Region: s.Region, BucketLookup: lookup, MaxRetries: 1,
	})
	if err != nil {
		return nil, err
	}
	return &connection{store: store, maxSize: s.MaxSize, close: transport.CloseIdleConnections}, nil
}

// Close closes the connections that no call uses.
func (c *connection) Close() error {
	c.close()
	return nil
}
