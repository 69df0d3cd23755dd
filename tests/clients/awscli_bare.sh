# The AWS CLI as it is set up for AWS itself: no endpoint anywhere. Usage: sh awscli_bare.sh ARCHIVE
set -eu
test -z "${AWS_ENDPOINT_URL-}"
aws sts get-caller-identity --query Arn --output text | grep -qx arn:aws:sts::123456789012:assumed-role/notebook/SageMaker
aws s3 mb s3://cli-bare
aws s3 cp "$1" s3://cli-bare/one/model.tar.gz
aws s3 cp s3://cli-bare/one/model.tar.gz back
cmp "$1" back
aws sagemaker list-endpoints --query 'type(Endpoints)' --output text | grep -qx array
aws logs describe-log-groups --query 'type(logGroups)' --output text | grep -qx array
aws --region eu-west-1 ec2 describe-instances 2> error && exit 1
grep -q 'Failed to connect to proxy URL' error
echo done
