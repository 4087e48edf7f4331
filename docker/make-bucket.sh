#!/bin/sh
# make-bucket.sh URL: makes the bucket at URL (http://host/bucket) with curl, unless it is there. The key is read from the file that the
# environment variable CURL_CONFIG names.
set -eu
config=${CURL_CONFIG:-/run/secrets/s3-admin.curl}
# SHA-256 of nothing, which is what these requests have as their body. S3 wants it signed; curl before 8 does not think of it.
empty=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855

s3() {
    curl --silent --show-error --max-time 20 --config "$config" --aws-sigv4 aws:amz:us-east-1:s3 --header "x-amz-content-sha256: $empty" \
        --output /dev/null --write-out '%{http_code}' "$@"
}

answer=$(s3 --head "$1")
case $answer in
200)
    echo "the bucket $1 is there"
    exit 0
    ;;
404) ;;
*)
    echo "error: $1 answers neither that the bucket is there nor that it is not: HTTP $answer" >&2
    exit 1
    ;;
esac
answer=$(s3 --request PUT "$1")
# 409: another one was quicker.
case $answer in
200 | 409) echo "the bucket $1 is made" ;;
*)
    echo "error: the bucket $1 was not made: HTTP $answer" >&2
    exit 1
    ;;
esac
